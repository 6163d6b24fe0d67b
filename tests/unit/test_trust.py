"""Only the user's own project files are run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from connleak.model.errors import Error
from connleak.plan import project_file as project
from support.cli import connleak

NOBODY = 65534
as_root = pytest.mark.needs("root")
RAN = "touch ran; sleep 60"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, with a project file of the current user and a folder in it."""
    found = Path(tempfile.mkdtemp(prefix="connleak-trust-"))
    found.chmod(0o755)
    (found / "connleak.toml").write_text(
        f"app = 'sh -c \"{RAN}\"'\nsetup = ['touch set-up']\nurl = 'http://127.0.0.1:1'\n"
    )
    (found / "connleak.toml").chmod(0o644)
    (found / "inside").mkdir()
    (found / "inside").chmod(0o755)  # independent of the umask
    yield found
    shutil.rmtree(found)


def read(folder: Path, uid: int | None = None) -> str:
    """Returns the app that the nearest project file names, read as another user when one is given."""
    if uid is not None:
        os.seteuid(uid)
    try:
        found = project.read(folder / "inside")
    finally:
        os.seteuid(os.getuid())
    assert found is not None
    return found[1].app or ""


def test_ones_own_file_is_run(folder: Path) -> None:
    assert RAN in read(folder)


@as_root
@pytest.mark.parametrize("name", ["connleak.toml", "pyproject.toml"])
def test_a_file_of_another_user_is_refused(folder: Path, name: str) -> None:
    if name == "pyproject.toml":
        text = (folder / "connleak.toml").read_text()
        (folder / "connleak.toml").unlink()
        (folder / name).write_text(f"[tool.connleak]\n{text}")
    os.chown(folder / name, NOBODY, NOBODY)
    with pytest.raises(Error, match=rf"{name} belongs to .*, not to root") as caught:
        read(folder)
    assert f"CONNLEAK_TRUST={folder / name} connleak run" in caught.value.hint
    with pytest.raises(Error, match="belongs to"):
        project.suppressions(folder / "inside")


@as_root
def test_a_file_of_roots_is_no_file_of_another_users(folder: Path) -> None:
    with pytest.raises(Error, match="belongs to root"):
        read(folder, uid=NOBODY)
    os.chown(folder / "connleak.toml", NOBODY, NOBODY)
    assert RAN in read(folder, uid=NOBODY), "in a folder of root's"


@as_root
def test_a_file_in_a_folder_of_another_users_is_refused(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(Error, match=f"{folder} belongs to"):
        read(folder)


@as_root
def test_anothers_link_to_a_file_of_ones_own_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "connleak.toml", tmp_path / "mine.toml")
    (folder / "connleak.toml").symlink_to(tmp_path / "mine.toml")
    assert RAN in read(folder)
    os.chown(folder / "connleak.toml", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(Error, match="belongs to"):
        read(folder)


@as_root
def test_root_takes_the_files_of_who_called_sudo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (folder, folder / "connleak.toml"):
        os.chown(path, NOBODY, NOBODY)
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    assert RAN in read(folder)
    monkeypatch.setenv("SUDO_UID", "12345")
    with pytest.raises(Error, match="belongs to"):
        read(folder)
    with pytest.raises(Error, match="belongs to"):
        monkeypatch.setenv("SUDO_UID", "0")
        read(folder, uid=54321)


@pytest.mark.parametrize("name", ["", "connleak.toml"])
def test_what_anybody_can_write_is_refused(folder: Path, name: str) -> None:
    (folder / name).chmod(0o777)
    with pytest.raises(Error, match="is writable by every user") as caught:
        read(folder)
    assert caught.value.hint == f"chmod o-w {folder / name}"


def test_a_sticky_folder_keeps_what_is_ours(folder: Path) -> None:
    folder.chmod(0o1777)
    assert RAN in read(folder)


@as_root
@pytest.mark.parametrize("trust", ["{}/connleak.toml", "/elsewhere:{}", "*"])
def test_a_file_that_is_trusted_by_name_is_run(folder: Path, trust: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(folder / "connleak.toml", NOBODY, NOBODY)
    monkeypatch.setenv("CONNLEAK_TRUST", trust.format(folder))
    assert RAN in read(folder)
    monkeypatch.setenv("CONNLEAK_TRUST", f"{folder}/connleak.tom:{folder}x")
    with pytest.raises(Error, match="belongs to"):
        read(folder)


@as_root
@pytest.mark.parametrize("command", ["run", "check"])
def test_nothing_of_anothers_file_runs(folder: Path, tmp_path: Path, command: str) -> None:
    os.chown(folder / "connleak.toml", NOBODY, NOBODY)
    done = connleak(command, cwd=folder / "inside", env={"CONNLEAK_CACHE": str(tmp_path)})
    assert done.returncode == 2 and "belongs to" in done.stderr and "CONNLEAK_TRUST=" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["connleak.toml", "inside"]


def test_what_a_file_runs_is_told_once_and_again_when_it_changes(folder: Path, tmp_path: Path) -> None:
    file = folder / "connleak.toml"
    file.write_text("app = 'env API_TOKEN=pl4nted true'\nsetup = ['touch set-up']\nurl = 'no address'\n")
    first, second = (connleak("run", cwd=folder, env={"CONNLEAK_CACHE": str(tmp_path)}).stderr for _ in range(2))
    assert "app = env API_TOKEN=*** true" in first and "setup = touch set-up" in first
    assert "setup" not in second and str(file.parent.name) in second
    file.write_text(file.read_text().replace("touch", "rm"))
    assert "setup = rm set-up" in connleak("run", cwd=folder, env={"CONNLEAK_CACHE": str(tmp_path)}).stderr


CRAFTED = {
    "nested": "[tool]\nconnleak = " + "[" * 100_000,
    "number": "tool = 1  # tool.connleak\n",
    "text": "[tool]\nconnleak = 'x'\n",
    "large": "[tool.connleak]\napp = 'x'\n#" + "x" * 2_000_000,
}


@as_root
@pytest.mark.parametrize("name", ["connleak.toml", "pyproject.toml"])
@pytest.mark.parametrize("text", CRAFTED.values(), ids=CRAFTED)
def test_a_file_of_another_user_is_not_parsed(folder: Path, monkeypatch, name: str, text: str) -> None:
    (folder / "connleak.toml").unlink()
    (folder / name).write_text(text)
    (folder / name).chmod(0o644)
    os.chown(folder / name, NOBODY, NOBODY)

    def parsed(_: str) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(project.tomllib, "loads", parsed)
    with pytest.raises(Error, match=f"{name} belongs to"):
        project.read(folder / "inside")


@as_root
def test_a_pyproject_of_another_user_that_is_not_for_connleak_is_left_alone(folder: Path) -> None:
    (folder / "inside" / "pyproject.toml").write_text("[project]\nname = 'x'\ndependencies = ['connleak']\n")
    os.chown(folder / "inside" / "pyproject.toml", NOBODY, NOBODY)
    assert RAN in read(folder)


@pytest.mark.parametrize("text", CRAFTED.values(), ids=CRAFTED)
def test_ones_own_crafted_file_is_an_error_with_words_or_no_file_of_connleaks(folder: Path, text: str) -> None:
    for name in ("pyproject.toml", "connleak.toml"):
        (folder / "inside" / name).write_text(text)
        try:
            project.read(folder / "inside")
        except Error as error:
            assert error.hint
        (folder / "inside" / name).unlink()


def test_a_fifo_is_no_project_file(folder: Path) -> None:
    os.mkfifo(folder / "inside" / "connleak.toml")
    assert RAN in read(folder)
