"""A database server of each kind for a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from connleak.databases.registry import open_database
from connleak.databases.server import Server
from connleak.model.plan import Database
from connleak.processes.supervisor import Supervisor

from support.needs_programs import OF_DATABASE, need
from support.plans import server_plan


@contextlib.contextmanager
def started_database(supervisor: Supervisor, kind: str, folder: Path, **settings: str) -> Iterator[Server]:
    """Yield a server of that kind; skip the test if it is not installed."""
    need(*OF_DATABASE.get(kind, ()))
    plan = server_plan(database=Database(kind=kind, max_connections=20, settings=settings))
    with open_database(supervisor, plan, None, folder) as server:
        yield server
