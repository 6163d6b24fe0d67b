"""The databases that runs create on external servers: named, recorded and dropped, also those of killed runs."""

from __future__ import annotations

import contextlib
import platform
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator

from connleak.processes.leftovers import even_if_interrupted
from connleak.processes.records import DatabaseEntry, abandoned, create, read, state_folder

OLD = 3600.0
"""Seconds after which a database that is not recorded here is reported as a possible leftover."""


@contextlib.contextmanager
def dropped_at_end(database: DatabaseEntry, drop: Callable[[], None]) -> Iterator[None]:
    """Record a database before it is created, and drop it at the end; if that fails, it stays recorded."""
    record = create()
    record.add(database)
    try:
        try:
            yield
        finally:
            even_if_interrupted(drop)
            record.remove()
    finally:
        record.close()


def drop_abandoned(server: str, drop: Callable[[str], bool]) -> list[str]:
    """Drop the databases that killed runs left on a server; return the names of those that `drop` could drop."""
    dropped = []
    for record in abandoned():
        names = [entry.name for entry in record.entries if isinstance(entry, DatabaseEntry) and entry.server == server]
        if names and record.owner.node == platform.node() and all(drop(name) for name in names):
            record.remove()
            dropped += names
    return dropped


def recorded_databases() -> set[str]:
    """Return the names of all recorded databases, of living and of ended runs."""
    folder = state_folder()
    records = [read(path) for path in folder.glob("*.jsonl")] if folder else []
    return {entry.name for lines in records for entry in lines if isinstance(entry, DatabaseEntry)}


def notes_on_others(dropped: Iterable[str], present: Iterable[str], command: str) -> tuple[str, ...]:
    """Return notes on the databases of other runs on the server: those that were dropped, and those that may be left.

    Whether a run on another machine has ended cannot be found out here: `command` drops its database.
    """
    recorded = recorded_databases()
    unknown = [name for name in present if name not in recorded and is_old_database(name)]
    return (
        *(f"dropped {name}, which a killed run left" for name in dropped),
        *(
            f"{name} belongs to a run that is not recorded here; if it has ended: {command.format(name)}"
            for name in unknown
        ),
    )


def database_name() -> str:
    """Return a new name for a database and its role, with the time of its creation in it."""
    return f"connleak_{time.strftime('%y%m%d_%H%M%S', time.gmtime())}_{secrets.token_hex(3)}"


def is_old_database(name: str) -> bool:
    """Return whether a name is that of a run's database which is old enough to be a leftover."""
    if not re.fullmatch(r"connleak_(\d{6}_\d{6}_[0-9a-f]{6}|[0-9a-f]{8})", name):
        return False
    return name < f"connleak_{time.strftime('%y%m%d_%H%M%S', time.gmtime(time.time() - OLD))}" or len(name) == 17
