"""The supervisor by itself: it ends when its channel does, whatever is unread and whoever may not be killed."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from connleak.processes import supervisor_main as supervisor

FORK = multiprocessing.get_context("fork")
STRANGER = 54321
SLEEP = ["sleep", "600"]
Begin = Callable[..., tuple[multiprocessing.process.BaseProcess, socket.socket]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder that another account can pass to: pytest's own ones are closed."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o711)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    return tmp_path / "open"


@pytest.fixture
def begin(folder: Path) -> Iterator[Begin]:
    """Yields what begins a supervisor in a process of its own, as an account."""
    with contextlib.ExitStack() as stack:

        def begun(uid: int) -> tuple[multiprocessing.process.BaseProcess, socket.socket]:
            ours, its = socket.socketpair()
            stack.callback(ours.close)
            record = (folder / "record").open("w")

            def run() -> None:
                ours.close()
                sys.argv = ["supervisor_main.py", str(os.dup(its.fileno())), str(record.fileno()), f"{folder}/record"]
                its.close()
                if uid != os.geteuid():
                    os.setgroups([])
                    os.setgid(uid)
                    os.setuid(uid)
                supervisor.main()

            process = FORK.Process(target=run)
            process.start()
            stack.callback(process.kill)
            its.close()
            record.close()
            return process, ours

        yield begun


def start(channel: socket.socket, folder: Path, argv: list[str]) -> None:
    request = {"op": "start", "key": 1, "argv": argv, "cwd": "/", "env": dict(os.environ), "signal": 15}
    channel.sendall(json.dumps({**request, "log": str(folder / "log")}).encode() + b"\n")


def test_an_end_with_unread_messages_is_an_end(begin: Begin, folder: Path) -> None:
    process, channel = begin(os.geteuid())
    start(channel, folder, SLEEP)
    assert channel.recv(1, socket.MSG_PEEK)  # its answer, which nobody reads
    channel.close()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.needs("root", "setpriv")
def test_a_child_that_it_may_not_kill_does_not_keep_it(begin: Begin, folder: Path) -> None:
    program = str(shutil.copy(shutil.which("setpriv") or "", folder / "as-root"))
    Path(program).chmod(0o4755)
    process, channel = begin(STRANGER)
    start(channel, folder, [program, "--reuid", "0", "--clear-groups", *SLEEP])
    with channel.makefile() as answers:
        pid = json.loads(answers.readline())["pid"]
    try:
        while Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")[0] != b"sleep":
            pass  # until then it is not root's
        channel.close()
        process.join(60)
        assert process.exitcode == 0
        assert Path("/proc", str(pid)).exists()
    finally:
        Path(program).unlink()  # it makes root of whoever runs it
        os.kill(pid, signal.SIGKILL)
