"""The databases that runs make on somebody's server: named, recorded, dropped, also those that killed runs left."""

from __future__ import annotations

import contextlib
import platform
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator

from connleak.processes.leftovers import surely
from connleak.processes.records import Database, begin, left, read, state_folder


@contextlib.contextmanager
def dropped_at_end(database: Database, drop: Callable[[], None]) -> Iterator[None]:
    """Records a database that is made now, and drops it at the end; when that fails, it stays recorded."""
    record = begin()
    record.add(database)
    try:
        try:
            yield
        finally:
            surely(drop)
            record.forget()
    finally:
        record.close()


def drop_left(server: str, drop: Callable[[str], bool]) -> list[str]:
    """Drops the databases on a server that killed runs left, where `drop` can; returns their names."""
    dropped = []
    for record in left():
        names = [thing.name for thing in record.things if isinstance(thing, Database) and thing.server == server]
        if names and record.owner.node == platform.node() and all(drop(name) for name in names):
            record.forget()
            dropped += names
    return dropped


def known_databases() -> set[str]:
    """Returns the names of all databases that a record of ours names, whether its owner lives or not."""
    folder = state_folder()
    records = [read(path) for path in folder.glob("*.jsonl")] if folder else []
    return {thing.name for lines in records for thing in lines if isinstance(thing, Database)}


def notes_on(dropped: Iterable[str], there: Iterable[str], words: str) -> tuple[str, ...]:
    """Returns what a run says of the databases of others on its server: those dropped now, and those left alone.

    Of a run on another machine it cannot be known whether it has ended: `words` are what drops one.
    """
    known = known_databases()
    strange = [name for name in there if name not in known and is_old_database(name)]
    notes = [f"dropped {name}, which a killed run left" for name in dropped]
    notes += [
        f"{name} is of a run that is not recorded here; if it has ended: {words.format(name)}" for name in strange
    ]
    return tuple(notes)


def database_name() -> str:
    """Returns a new name for a database and its role, which tells when it was made."""
    return f"connleak_{time.strftime('%y%m%d_%H%M%S', time.gmtime())}_{secrets.token_hex(3)}"


def is_old_database(name: str, seconds: float = 3600.0) -> bool:
    """Tells by its name whether a database is one that a run made, so long ago."""
    if not re.fullmatch(r"connleak_(\d{6}_\d{6}_[0-9a-f]{6}|[0-9a-f]{8})", name):
        return False
    return name < f"connleak_{time.strftime('%y%m%d_%H%M%S', time.gmtime(time.time() - seconds))}" or len(name) == 17
