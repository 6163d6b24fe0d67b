"""A server for one run gets another port if its first is in use, and is stopped if it does not become ready."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest
from connleak.model.errors import Error
from connleak.processes.local_server import ATTEMPTS, local_server
from connleak.processes.supervisor import Supervisor

TAKEN = "echo 'bind: Address already in use'; exit 1"
RUNS = "echo accepting connections; exec sleep 600"


@contextlib.contextmanager
def opened(supervisor: Supervisor, folder: Path, scripts: list[str], tried: list[int], timeout: float = 5):
    def command(port: int) -> list[str]:
        tried.append(port)
        return ["sh", "-c", scripts[len(tried) - 1]]

    def ready(port: int) -> bool:
        return port == tried[-1] and "accepting" in (folder / "log").read_text()

    log = folder / "log"
    with local_server(supervisor, "it", command, ready, folder=folder, log=log, timeout=timeout) as port:
        yield port


def test_when_another_process_takes_its_port_another_port_is_tried(supervisor: Supervisor, tmp_path: Path) -> None:
    tried: list[int] = []
    with opened(supervisor, tmp_path, [TAKEN, RUNS], tried) as port:
        assert len(set(tried)) == 2 and port == tried[1]
        supervisor.check()


def test_after_the_last_attempt_the_error_shows_its_last_lines(supervisor: Supervisor, tmp_path: Path) -> None:
    tried: list[int] = []
    with pytest.raises(Error, match="already in use"), opened(supervisor, tmp_path, [TAKEN] * 9, tried):
        pass
    assert len(tried) == ATTEMPTS


def test_another_failure_is_not_retried(supervisor: Supervisor, tmp_path: Path) -> None:
    tried: list[int] = []
    scripts = ["echo no such file; exit 3", RUNS]
    words = r"it ended with exit code 3 before it was ready(.|\n)*no such file"
    with pytest.raises(Error, match=words), opened(supervisor, tmp_path, scripts, tried):
        pass
    assert len(tried) == 1


def test_a_server_that_does_not_become_ready_is_named_and_stopped(supervisor: Supervisor, tmp_path: Path) -> None:
    script = "exec sleep 600"
    words = r"timed out after 0\.2 s waiting for it to become ready; its last lines"
    with pytest.raises(Error, match=words), opened(supervisor, tmp_path, [script], [], timeout=0.2):
        pass
    left = [process.cmdline() for process in psutil.Process(supervisor._process.pid).children(recursive=True)]
    assert left == []
