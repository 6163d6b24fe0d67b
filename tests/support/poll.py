"""Wait for a condition, a port or an answer over HTTP."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable

PAUSE = 0.02
"""Seconds between two looks."""


def wait_until(
    condition: Callable[[], object], what: str, timeout: float = 10, process: subprocess.Popen[str] | None = None
) -> None:
    """Return once the condition holds; fail with `what` after `timeout` seconds, or when the process has ended."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {timeout} s: {what}"
        assert process is None or process.poll() is None, f"exit code {process.poll()} before: {what}"
        time.sleep(PAUSE)


def accepts_connections(port: int) -> bool:
    """Return whether a server on loopback accepts TCP connections at this port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(port: int, timeout: float = 20, process: subprocess.Popen[str] | None = None) -> None:
    """Return once a server accepts connections at this port."""
    wait_until(lambda: accepts_connections(port), f"no server accepts connections at port {port}", timeout, process)


def get_ok(port: int, path: str) -> bool:
    """Return whether a GET request of this path on loopback gets status 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
