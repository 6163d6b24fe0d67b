"""connleak from Python, on recordings that are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import connleak
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
    with pytest.raises(Error, match="compare needs variants or run folders"):
        api.compare()


def test_without_the_library_a_frame_says_what_to_install(folder: Path) -> None:
    made = api.read(folder)
    columns = api.columns(made)
    assert {len(values) for values in columns.values()} == {len(made.samples)}
    with pytest.raises(Error, match="no_such_library is not installed"):
        api.frame_of("no_such_library", made)


def test_the_package_has_the_names_of_the_api_and_is_light_to_import() -> None:
    assert set(connleak.__all__) - {"__version__"} == set(api.__all__)
    for name in api.__all__:
        assert getattr(connleak, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = connleak.no_such_name
    code = "import sys, connleak; print(*[name for name in sys.modules if name.startswith('connleak')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"connleak", "connleak.version"}


def test_the_api_takes_the_options_of_the_command_line() -> None:
    with pytest.raises(Error, match="--users is 0: expected a whole number >= 1"):
        connleak.run(connleak.RunOptions(target="missing_remove", users=0))
    with pytest.raises(Error, match="there is no target"):
        connleak.compare("nothing_such", "other", options=connleak.RunOptions(users=2))


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (Path(connleak.__file__).parent / "py.typed").is_file()
