"""A server for one run (PostgreSQL, MariaDB, PgBouncer, Redis): its folder, its free port, its start and its end."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from connleak.model.errors import Error
from connleak.processes.accounts import Account
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Supervisor, last_lines, wait_until_done, wait_until_ready

ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
ATTEMPTS = 3
"""Ports that are tried: another process may take a port before the server binds it."""
COPY_TIME = 60.0
"""Seconds in which a server's data folder must be copied."""


@contextlib.contextmanager
def local_server(
    supervisor: Supervisor,
    name: str,
    command: Callable[[int], list[str]],
    ready: Callable[[int], bool],
    *,
    folder: Path,
    log: Path,
    timeout: float,
    stop_signal: int = signal.SIGTERM,
    account: Account | None = None,
) -> Iterator[int]:
    """Start a server on a free port of loopback, yield the port once the server is ready, and stop it afterwards.

    `command` and `ready` take the port. Raise Error with the log's last lines when the server does not become ready.
    """
    with contextlib.ExitStack() as stack:
        for attempt in range(1, ATTEMPTS + 1):
            port = free_port()
            child = supervisor.start(
                name,
                command(port),
                cwd=folder,
                env=ENVIRONMENT,
                log=log,
                stop_signal=stop_signal,
                account=(account.uid, account.gid) if account else None,
            )
            stack.callback(supervisor.stop, child)
            try:
                wait_until_ready(supervisor, child, functools.partial(ready, port), timeout)
                break
            except Error:
                if attempt == ATTEMPTS or not any("Address already in use" in line for line in last_lines(log)):
                    raise
        supervisor.need(child)
        yield port


def server_folder(supervisor: Supervisor, name: str, account: Account | None) -> Path:
    """Return a new folder for a server's files, removed with the run; connleak's own account can still write to it."""
    folder = supervisor.scratch_in_memory(name)
    if account and folder.is_relative_to(supervisor.scratch):
        supervisor.admit(account.gid)
    return folder


def copy_folder(supervisor: Supervisor, source: Path, target: Path) -> None:
    """Copy a folder in a child process: a copy that outlives connleak would create a folder that is never removed.

    By cp, not shutil: for a thousand small files it takes a tenth of the time, and it keeps their owner.
    """
    argv = ["cp", "-a", str(source), str(target)]
    child = supervisor.start("cp", argv, cwd=target.parent, env=dict(os.environ), log=supervisor.scratch / "cp.log")
    wait_until_done(supervisor, child, COPY_TIME, every=0.002)
