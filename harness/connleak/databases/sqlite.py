"""SQLite for one run: a file, whose sessions are the handles on it that processes have open."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from connleak.databases.server import Reading, Server
from connleak.model.errors import Error
from connleak.model.recording import HANDLES, Backend
from connleak.processes.supervisor import Supervisor


@contextlib.contextmanager
def local_sqlite(supervisor: Supervisor) -> Iterator[Server]:
    """Create an empty database file in the scratch folder, which is removed with it."""
    path = supervisor.scratch / "app.db"
    sqlite3.connect(path).close()
    path.touch()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Server(
        kind="sqlite",
        source="file",
        version=sqlite3.sqlite_version,
        max_connections=soft,
        reserved=0,
        host="",
        port=0,
        user="",
        password="",
        dbname=str(path),
        admin={},
        own_server=True,
        own_database=True,
    )


def run_sql(server: Server, path: Path) -> None:
    """Run an SQL file on the database; raise Error with SQLite's message."""
    try:
        with contextlib.closing(sqlite3.connect(server.dbname)) as connection:
            connection.executescript(path.read_text(encoding="utf-8"))
    except sqlite3.Error as error:
        raise Error(f"{path} failed: {error}", f"$EDITOR {path}") from None


class SqliteReader:
    """A reader that searches /proc for descriptors of the file; each is one connection, whose state is not visible."""

    def __init__(self, server: Server, origin: float) -> None:
        self._path = server.dbname
        self._origin = origin
        self._known: dict[int, Backend] = {}
        self._seen: set[int] = set()

    def close(self) -> None:
        pass

    def read(self, *, full: bool) -> Reading:
        """Return the open handles of all processes whose descriptors are readable."""
        began = time.monotonic()
        found = list(handles(self._path))
        t = (began + time.monotonic()) / 2
        now = round(t - self._origin, 3)
        self._known = {number: self._known.get(number) or Backend(number, now, state="open") for number in found}
        self._seen |= self._known.keys()
        counters = {"sessions": float(len(self._seen))}
        return Reading(t, self._known, None if full else frozenset(self._known), counters)


def handles(path: str) -> Iterator[int]:
    """Yield a number for each open descriptor of a file in other processes."""
    own = str(os.getpid())
    for process in os.listdir("/proc"):
        if not process.isdigit() or process == own:
            continue
        folder = f"/proc/{process}/fd"
        try:
            descriptors = os.listdir(folder)
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                if os.readlink(f"{folder}/{descriptor}") == path:
                    yield int(process) * HANDLES + int(descriptor)
            except OSError:
                continue
