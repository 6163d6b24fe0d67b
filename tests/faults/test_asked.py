"""`connleak holders` queries a running session many times, at any moment, without harm to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from connleak.databases.registry import open_database
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.processes.supervisor import Supervisor
from connleak.runner import control, holders
from support.cli import command
from support.poll import wait_until
from support.shop import shop_plan


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        Supervisor() as supervisor,
        open_database(supervisor, shop_plan(), None, tmp_path_factory.mktemp("server")) as opened,
    ):
        yield opened


def words_of(kind: str, server: Server) -> tuple[list[str], int]:
    """Return the arguments of a session, and its exit code without any query."""
    script = "import time, sys; time.sleep(4); sys.exit(7)"
    return {
        "run": (["run", "missing_remove:buggy"], 1),
        "watch": (["watch", server.url(), "--window", "1", "--every", "0.2", "--for", "5"], 3),
        "probe": (["probe", "--", sys.executable, "-c", script], 7),
    }[kind]


def started(kind: str, server: Server, folder: Path) -> tuple[subprocess.Popen, int]:
    (first, *rest), code = words_of(kind, server)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(first, "--out", str(folder), *rest), text=True, **pipes), code


def wait_until_it_can_be_asked(folder: Path) -> None:
    wait_until((folder / "control.json").exists, "it can be asked", timeout=20)


@pytest.mark.parametrize("kind", ["run", "watch", "probe"])
def test_asked_two_hundred_times_from_the_first_moment_on_it_ends_as_if_it_was_not(
    server: Server, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "out"
    process, code = started(kind, server, folder)
    answers, refusals = 0, set()
    while process.poll() is None or answers + len(refusals) < 10:
        if not folder.exists():
            time.sleep(0.001)
            continue
        try:
            answers += holders.table(folder, "now").at == "now"
        except Error as error:
            assert error.message and error.hint
            refusals.add(error.message)
            if process.poll() is not None:
                break
        time.sleep(0.005)
    assert process.stderr is not None
    with process.stderr:
        assert process.wait() == code, process.stderr.read()
    assert answers >= (50 if kind == "run" else 200), refusals
    assert not (folder / "control.json").exists()
    with pytest.raises(Error, match="no run, watch or probe records into it"):
        holders.table(folder, "now")


@pytest.mark.parametrize("kind", ["run", "watch", "probe"])
def test_the_signal_that_asked_before_ends_nobody(server: Server, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "out"
    process, code = started(kind, server, folder)
    while not folder.exists():
        time.sleep(0.001)
    while process.poll() is None:
        process.send_signal(signal.SIGUSR2)
        time.sleep(0.05)
    assert process.stderr is not None
    with process.stderr:
        assert process.wait() == code, process.stderr.read()


def test_the_socket_is_its_owners_and_what_is_asked_of_it_is_all_that_it_answers(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    process, code = started("probe", server, folder)
    wait_until_it_can_be_asked(folder)
    path = Path(json.loads((folder / "control.json").read_text())["path"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.parent.name.startswith("connleak-")
    for data in (b"[" * 100_000, b"holders", b"\0\0\0\0\0\0\0\0", b""):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(10)
            stranger.connect(str(path))
            try:
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)
                assert stranger.recv(100) == b""
            except OSError:
                pass
    assert holders.table(folder, "now").at == "now"
    assert process.stderr is not None
    with process.stderr:
        assert process.wait() == code, process.stderr.read()


def test_where_the_one_who_recorded_is_gone_nobody_is_asked_and_nobody_signalled(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    process, _ = started("probe", server, folder)
    wait_until_it_can_be_asked(folder)
    process.kill()
    process.communicate()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        told = json.loads((folder / "control.json").read_text())
        told["pid"] = bystander.pid
        (folder / "control.json").write_text(json.dumps(told))  # as if the pid was reused
        with pytest.raises(Error, match="no run, watch or probe records into it"):
            holders.table(folder, "now")
        with pytest.raises(Error, match="has no holder table"):
            holders.table(folder)
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize(
    "answer",
    [b"", b"x", b"[" * 100_000, b'{"table":{"at":1}}', b'{"error":"' + b"x" * 10 + b'"}', b'{"table":null}'],
    ids=["nothing", "no JSON", "nested", "another table", "an error", "none"],
)
def test_whatever_answers_in_its_place_is_a_table_or_an_error(tmp_path: Path, answer: bytes) -> None:
    import threading

    (tmp_path / "plan.json").write_text("{}")
    path = tmp_path / "connleak-x" / "control.sock"  # named like a run's socket: no other one is queried
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(path))
        impostor.listen(1)
        impostor.settimeout(20)

        def speak() -> None:
            line, _ = impostor.accept()
            with line:
                line.recv(100)
                line.sendall(answer)

        thread = threading.Thread(target=speak)
        thread.start()
        where = {"pid": os.getpid(), "started": 0.0, "path": str(path)}
        (tmp_path / "control.json").write_text(json.dumps(where))
        with pytest.raises(Error) as error:
            holders.table(tmp_path, "now")
        thread.join()
    assert error.value.message and error.value.hint


def test_a_socket_that_is_named_like_none_of_a_runs_is_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as somebodys:
        somebodys.bind(str(path))
        somebodys.listen(1)
        somebodys.settimeout(0.5)
        (tmp_path / "control.json").write_text(json.dumps({"pid": os.getpid(), "path": str(path)}))
        assert control.request_table(tmp_path) is None
        with pytest.raises(TimeoutError):
            somebodys.accept()
