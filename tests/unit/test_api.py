"""connleak from Python, on recordings that are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from connleak import api
from connleak.corpus import archive as packing
from connleak.model.errors import Error
from support.paths import GALLERY


@pytest.fixture
def folder(tmp_path: Path):
    with packing.unpacked(GALLERY / "recordings" / "missing_remove-buggy.tar.gz") as unpacked:
        yield unpacked


def test_a_recording_is_read_and_judged_and_nothing_is_written(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    made = api.read(folder)
    assert made.plan.target == "missing_remove"
    assert api.judge(made) == api.judge(str(folder))
    assert api.judge(made).outcome == "leak"
    assert sorted(path.name for path in folder.iterdir()) == before


def test_what_is_wrong_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(Error, match="no plan"):
        api.read(tmp_path)
    with pytest.raises(Error, match="there is no target"):
        api.run("nothing_such")
    with pytest.raises(Error, match="takes two variants or more"):
        api.compare("missing_remove:fixed")


def test_without_the_library_a_frame_says_what_to_install(folder: Path) -> None:
    made = api.read(folder)
    columns = api.columns(made)
    assert {len(values) for values in columns.values()} == {len(made.samples)}
    with pytest.raises(Error, match="no_such_library is not installed"):
        api.frame_of("no_such_library", made)
