"""The cache: whole or not there, built once, closed to other accounts, and never blocked by a run that was killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from connleak.model.errors import Error
from connleak.processes.cache import build_once, cache_folder

FORK = multiprocessing.get_context("fork")
SEVERAL = 2


@pytest.fixture(autouse=True)
def _no_test_waits_for_ever() -> Iterator[None]:
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for a lock that nobody holds"))
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def touch(folder: Path) -> None:
    (folder / "all").touch()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_build_that_was_killed_blocks_nobody_and_is_removed(tmp_path: Path) -> None:
    thing, begun = tmp_path / "thing", FORK.Event()

    def never_ends(folder: Path) -> None:
        (folder / "half").touch()
        begun.set()
        signal.pause()

    killed = FORK.Process(target=build_once, args=(thing, never_ends))
    killed.start()
    assert begun.wait(30)
    killed.kill()
    killed.join()
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
    build_once(thing, touch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thing", "thing.lock"]
    assert [path.name for path in thing.iterdir()] == ["all"]


def test_what_a_killed_run_of_our_own_pid_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"thing.{os.getpid()}").mkdir()  # in a container pids repeat
    (tmp_path / "thing.part").mkdir()  # somebody else's: no name that we ever gave
    (tmp_path / "thing-2.17").mkdir()
    assert build_once(tmp_path / "thing", touch).is_dir()
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {"thing", "thing.part", "thing-2.17"}


def test_two_at_once_build_it_once(tmp_path: Path) -> None:
    thing, log = tmp_path / "thing", tmp_path / "log"
    begun, go_on = FORK.Event(), FORK.Event()

    def slowly(folder: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        begun.set()
        go_on.wait(30)
        touch(folder)

    runs = [FORK.Process(target=build_once, args=(thing, slowly)) for _ in range(SEVERAL)]
    runs[0].start()
    assert begun.wait(30)
    runs[1].start()
    runs[1].join(0.5)
    assert runs[1].is_alive(), "the second waits for the first"
    go_on.set()
    for run in runs:
        run.join(30)
    assert [run.exitcode for run in runs] == [0, 0]
    assert log.read_text().split() == [str(runs[0].pid)]


def test_what_cannot_be_built_is_not_there_and_the_next_may_try(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        build_once(tmp_path / "thing", fails)
    assert [path.name for path in tmp_path.iterdir()] == ["thing.lock"]
    assert build_once(tmp_path / "thing", touch).is_dir()


def test_what_earlier_versions_called_it_is_removed(tmp_path: Path) -> None:
    for name in ("template-18.6-nobody-1", "template-18.6-nobody-2", "template-18.6-somebody-2"):
        (tmp_path / name).mkdir()
    build_once(tmp_path / "template-18.6-nobody-3", touch, replaces="template-18.6-nobody-[0-9]*")
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {"template-18.6-nobody-3", "template-18.6-somebody-2"}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_modes_do_not_come_from_the_umask(
    mask: int, tmp_path: Path, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    umask(mask)
    monkeypatch.setenv("CONNLEAK_CACHE", str(tmp_path / "cache"))
    cache = cache_folder()
    assert mode(cache) == (0o711 if os.geteuid() == 0 else 0o700)
    assert mode(build_once(cache / "thing", touch)) == 0o700
    assert mode(cache / "thing.lock") == 0o600
    assert mode(build_once(cache / "programs", touch, mode=0o755)) == 0o755


def test_a_cache_that_others_can_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNLEAK_CACHE", str(tmp_path))
    for open_to in (0o777, 0o1777, 0o770):
        tmp_path.chmod(open_to)
        with pytest.raises(Error, match="other accounts may write"):
            cache_folder()
    tmp_path.chmod(0o700)
    assert cache_folder() == tmp_path


@pytest.mark.needs("root")
def test_a_cache_of_another_account_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNLEAK_CACHE", str(tmp_path))
    os.chown(tmp_path, 60123, 60123)
    with pytest.raises(Error, match="belongs to another account"):
        cache_folder()


def test_a_cache_folder_of_ours_is_closed_again(
    tmp_path: Path, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONNLEAK_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.site_cache_dir", lambda *_, **__: str(tmp_path / "ours"))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "ours"))
    umask(0)
    (tmp_path / "ours").mkdir(mode=0o755)
    assert mode(cache_folder()) & 0o066 == 0
    (tmp_path / "ours").chmod(0o777)  # as connleak 0.1 made it under this umask: whose programs are in it?
    with pytest.raises(Error, match="other accounts may write"):
        cache_folder()
    assert mode(tmp_path / "ours") == 0o777
