"""The skeleton of a new target is a complete target."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from connleak.corpus.skeleton import new_target
from connleak.model.errors import Error
from connleak.plan import catalog


def test_a_new_target_can_be_read_and_marks_its_line(tmp_path: Path) -> None:
    folder = new_target(tmp_path, "my_leak")
    target = catalog.read_target(folder / "target.toml")
    assert {name: variant.expect for name, variant in target.variants.items()} == {"buggy": "leak", "fixed": "clean"}
    for name in target.variants:
        ast.parse((folder / f"{name}.py").read_text())
    assert "# leak: " in (folder / "buggy.py").read_text()
    assert "# leak" not in (folder / "fixed.py").read_text()
    assert catalog.scenario(target.variants["buggy"].scenario).exists()


@pytest.mark.parametrize("name", ["Leak", "leak", "../my_leak", "my leak", "my-leak", ""])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Error, match="is not a valid target name"):
        new_target(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    new_target(tmp_path, "my_leak")
    with pytest.raises(Error, match="exists already"):
        new_target(tmp_path, "my_leak")
