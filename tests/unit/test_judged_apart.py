"""A watch judges in a process of its own, which takes no module from the folder that the user is in."""

from __future__ import annotations

from pathlib import Path

import pytest
from connleak.corpus.archive import unpacked
from connleak.runner.live_view import judged_apart
from support.paths import RECORDINGS


def test_a_module_in_the_users_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "msgspec.py").write_text("open('imported', 'w')\n")
    monkeypatch.chdir(tmp_path)
    with unpacked(RECORDINGS / "missing_remove-buggy.tar.gz") as folder:
        verdict = judged_apart(folder)
    assert not (tmp_path / "imported").exists()
    assert verdict is not None and verdict.outcome == "leak"
