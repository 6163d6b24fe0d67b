"""An account that has neither HOME nor an entry in passwd, and a working folder with modules of the project's own."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from connleak.cli.group import Group
from connleak.cli.output import COULD_NOT_RUN
from connleak.model.errors import Error
from connleak.processes import cache, records
from connleak.processes import venv as environment


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # the folder before its owner is another
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "PYENV_ROOT", "CONNLEAK_STATE", "CONNLEAK_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 54321)  # the folders are asked for by it
    monkeypatch.setattr("os.getuid", lambda: 54321)  # and the home


@pytest.mark.usefixtures("homeless")
def test_the_records_are_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(records, "is_private", asked.append)
    assert records.state_folder() is None
    assert asked == [Path("/tmp/.connleak-state-54321")]


@pytest.mark.usefixtures("homeless")
def test_the_cache_says_how_to_name_a_folder() -> None:
    with pytest.raises(Error, match="no home directory") as caught:
        cache.cache_folder()
    assert "CONNLEAK_CACHE" in caught.value.hint


@pytest.mark.usefixtures("homeless")
def test_a_python_is_found_all_the_same() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert sys.executable in list(environment.candidates(version))


def test_a_pyenv_root_needs_no_home(homeless: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    (tmp_path / "versions/3.1.9/bin").mkdir(parents=True)
    (tmp_path / "versions/3.1.9/bin/python").touch()
    assert str(tmp_path / "versions/3.1.9/bin/python") in list(environment.candidates("3.1"))


def test_modules_of_the_working_folder_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("logging", "types", "subprocess"):
        (project / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nraise SystemExit(1)\n")
    monkeypatch.chdir(project)
    monkeypatch.setenv("CONNLEAK_CACHE", str(tmp_path / "cache"))
    nowhere = "--no-index", "--find-links", str(tmp_path)
    with pytest.raises(Error, match="pip"):  # which runs, and does not find it
        environment.environment("", *nowhere, "no-such-package")
    python = environment.environment("")
    assert subprocess.run([python, "-I", "-c", "import pip"], check=False).returncode == 0
    assert not (tmp_path / "executed").exists()


def test_an_operation_that_is_not_permitted_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group("connleak")

    @group.command()
    def work() -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", "/data")

    with pytest.raises(SystemExit) as ended:
        group.main(["work"])
    assert ended.value.code == COULD_NOT_RUN
    assert "/data: Operation not permitted" in capsys.readouterr().err
