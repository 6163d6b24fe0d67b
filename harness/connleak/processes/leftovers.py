"""What a killed run left, by its record: found by the next start and removed."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from connleak.processes.records import PREFIX, Child, Command, Database, Folder, Record, Thing, begin, boot, left
from connleak.processes.supervisor_main import kill, processes, remove, remove_segments

MARK = "CONNLEAK_KEEPER"
"""The variable in every child's environment that names the scratch folder of the run that started it."""
FORGOTTEN = 30 * 86400.0
"""Seconds after which a record is dropped whose things cannot be reached from here."""
PATIENCE = 5.0
"""Seconds in which killed processes must have ended."""
COMMAND_TIME = 30.0


def sweep() -> Counter[str]:
    """Removes what owners left that have ended; returns how many of what."""
    removed: Counter[str] = Counter()
    for record in left():  # first of all of them: a process may write into another's folder, such as a work tree
        removed["process"] += end_processes(record.things)
    for record in left():
        if record.owner.node == platform.node():
            removed += clear(record)
        elif time.time() - record.owner.at > FORGOTTEN:
            record.forget()
    return +removed


def swept(removed: Counter[str]) -> str:
    """Returns in words what a sweep removed, nothing where that was nothing."""
    counts = ", ".join(counted(count, name) for name, count in removed.items())
    return f"removed what a killed run left: {counts}" if counts else ""


def counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}{'es' if name.endswith('s') else 's'}"


def clear(record: Record) -> Counter[str]:
    """Removes what is recorded, then the record unless something remains; returns how many of what it removed."""
    removed = Counter({"process": end_processes(record.things)})
    remaining = 0
    for thing in sorted(record.things, key=lambda thing: isinstance(thing, Folder)):
        there, gone = REMOVERS[type(thing)](thing)
        removed[WORDS[type(thing)]] += there and gone
        remaining += not gone
    if record.owner.boot == boot():
        removed["shared memory segment"] += remove_segments(  # type: ignore[no-untyped-call]
            {thing.pid: thing.at for thing in record.things if isinstance(thing, Child)}
        )
    if not remaining or time.time() - record.owner.at > FORGOTTEN:
        record.forget()
    else:
        record.close()
    return +removed


@contextlib.contextmanager
def recorded() -> Iterator[Record]:
    """Yields a record; at the end all that it names is removed, also when that is interrupted once."""
    record = begin()
    try:
        yield record
    finally:
        surely(lambda: clear(record))


def surely(act: Callable[[], object]) -> None:
    """Does what must be done at the end; when that is interrupted, does it again before the interruption goes on."""
    try:
        act()
    except KeyboardInterrupt:
        act()
        raise


def found() -> Iterator[str]:
    """Yields in words what is left over."""
    for record in left():
        count = len(processes_of(record.things))
        if count:
            yield counted(count, "process")
        for thing in record.things:
            if isinstance(thing, Folder) and Path(thing.path).exists():
                yield thing.path
            elif isinstance(thing, Database):
                yield f"database {thing.name} at {thing.server} (dropped by the next run with that address)"
            elif isinstance(thing, Command):
                yield thing.removes


def processes_of(things: Sequence[Thing]) -> dict[int, int]:
    """Returns {pid: start} of the living processes that a run's children are or started.

    They are told by the scratch folder in their environment; where a program has written over that, as PostgreSQL
    does, by where they are.
    """
    folders = [Path(thing.path) for thing in things if isinstance(thing, Folder)]
    if not any(isinstance(thing, Child) for thing in things):
        return {}
    marks = {f"{MARK}={folder}".encode() for folder in folders}
    own = os.geteuid()
    told = {}
    for pid, (_, _, start) in processes().items():  # type: ignore[no-untyped-call]
        try:
            if pid == os.getpid() or (own and Path(f"/proc/{pid}").stat().st_uid != own):
                continue
            words = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
            where = Path(f"/proc/{pid}/cwd").readlink() if not any(b"=" in word for word in words) else None
        except OSError:
            continue
        if words & marks or (where is not None and any(where.is_relative_to(folder) for folder in folders)):
            told[pid] = start
    return told


def end_processes(things: Sequence[Thing]) -> int:
    """Kills the processes of a run until none is left; returns how many there were."""
    ended: set[tuple[int, int]] = set()
    deadline = time.monotonic() + PATIENCE
    while (found := processes_of(things)) and time.monotonic() < deadline:
        kill(found)  # type: ignore[no-untyped-call]
        ended |= set(found.items())
        time.sleep(0.02)
    return len(ended)


def remove_folder(path: str) -> tuple[bool, bool]:
    """Removes a folder of ours; returns whether it was there, and whether it is gone."""
    if not Path(path).name.startswith(PREFIX):
        return False, True
    there = os.path.lexists(path)
    remove(path)  # type: ignore[no-untyped-call]
    return there, not os.path.lexists(path)


def run_command(thing: Command) -> tuple[bool, bool]:
    """Runs a command that removes a thing, and says so when it was there."""
    try:
        done = subprocess.run(
            thing.argv, env={**os.environ, **thing.env}, capture_output=True, check=False, timeout=COMMAND_TIME
        )
    except (OSError, subprocess.TimeoutExpired):
        return False, False
    return bool(done.stdout.strip()), done.returncode == 0


REMOVERS: dict[type[Thing], Callable[..., tuple[bool, bool]]] = {
    Folder: lambda thing: remove_folder(thing.path),
    Command: run_command,
    Child: lambda _: (False, True),
    Database: lambda _: (False, False),
}
"""How each kind of thing is removed: whether it was there, and whether it is gone.

A database takes its server's address: `databases/foreign.py`.
"""
WORDS: dict[type[Thing], str] = {
    Folder: "folder", Command: "container", Child: "process", Database: "database",
}  # fmt: skip
