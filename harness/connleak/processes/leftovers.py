"""Leftovers of killed runs, found by their records: every start of connleak removes them."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connleak.processes import poll
from connleak.processes.records import (
    PREFIX,
    CommandEntry,
    DatabaseEntry,
    Entry,
    FolderEntry,
    ProcessEntry,
    Record,
    abandoned,
    boot_id,
    create,
)
from connleak.processes.supervisor_main import kill, processes, remove, remove_segments
from connleak.processes.variables import MARK

MAX_AGE = 30 * 86400.0
"""Seconds after which a record is removed although its things cannot be reached from this machine."""
KILL_TIME = 5.0
"""Seconds in which killed processes must have ended."""
COMMAND_TIME = 30.0
"""Seconds in which a recorded command must have ended."""


def sweep() -> Counter[str]:
    """Remove what killed runs left; return how many things of each kind."""
    removed: Counter[str] = Counter()
    for record in abandoned():  # processes of all records first: one may write into the folder of another
        removed["process"] += end_processes(record.entries)
    for record in abandoned():
        if record.owner.node == platform.node():
            removed += clear(record)
        elif is_outdated(record):
            record.remove()
    return +removed


def describe_sweep(removed: Counter[str]) -> str:
    """Return a sentence about what a sweep removed, empty if nothing."""
    counts = ", ".join(format_count(count, name) for name, count in removed.items())
    return f"removed what a killed run left: {counts}" if counts else ""


def format_count(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}{'es' if name.endswith('s') else 's'}"


def is_outdated(record: Record) -> bool:
    return time.time() - record.owner.at > MAX_AGE


def clear(record: Record) -> Counter[str]:
    """Remove the recorded things, then the record unless one is left; return how many things of each kind."""
    removed = Counter({"process": end_processes(record.entries)})
    remaining = 0
    for entry in sorted(record.entries, key=lambda entry: isinstance(entry, FolderEntry)):
        kind = KINDS[type(entry)]
        existed, gone = kind.remove(entry)
        removed[kind.name] += existed and gone
        remaining += not gone
    if record.owner.boot == boot_id():
        removed["shared memory segment"] += remove_segments(  # type: ignore[no-untyped-call]
            {entry.pid: entry.at for entry in record.entries if isinstance(entry, ProcessEntry)}
        )
    if not remaining or is_outdated(record):
        record.remove()
    else:
        record.close()
    return +removed


@contextlib.contextmanager
def recorded() -> Iterator[Record]:
    """Yield a record, and remove everything that it names at the end, also when that is interrupted once."""
    record = create()
    try:
        yield record
    finally:
        even_if_interrupted(lambda: clear(record))


def even_if_interrupted(act: Callable[[], object]) -> None:
    """Call `act`, and again if KeyboardInterrupt interrupts the first call; then raise that."""
    try:
        act()
    except KeyboardInterrupt:
        act()
        raise


def describe_leftovers() -> Iterator[str]:
    """Yield a description of each thing that is left over."""
    for record in abandoned():
        count = len(processes_of(record.entries))
        if count:
            yield format_count(count, "process")
        for entry in record.entries:
            if isinstance(entry, FolderEntry) and Path(entry.path).exists():
                yield entry.path
            elif isinstance(entry, DatabaseEntry):
                yield f"database {entry.name} at {entry.server} (dropped by the next run with that address)"
            elif isinstance(entry, CommandEntry):
                yield entry.removes


def processes_of(entries: Sequence[Entry]) -> dict[int, int]:
    """Return {pid: start} of the living processes of a run: its children and their descendants.

    The scratch folder in their environment identifies them. A program that overwrites its environment, as PostgreSQL
    does for its process title, is identified by its working directory.
    """
    folders = [Path(entry.path) for entry in entries if isinstance(entry, FolderEntry)]
    if not any(isinstance(entry, ProcessEntry) for entry in entries):
        return {}
    marks = {f"{MARK}={folder}".encode() for folder in folders}
    own = os.geteuid()
    found = {}
    for pid, (_, _, start) in processes().items():  # type: ignore[no-untyped-call]
        try:
            if pid == os.getpid() or (own and Path(f"/proc/{pid}").stat().st_uid != own):
                continue
            variables = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
            overwritten = not any(b"=" in variable for variable in variables)
            directory = Path(f"/proc/{pid}/cwd").readlink() if overwritten else None
        except OSError:
            continue
        if variables & marks or (directory is not None and any(map(directory.is_relative_to, folders))):
            found[pid] = start
    return found


def end_processes(entries: Sequence[Entry]) -> int:
    """Kill the processes of a run until none is left; return their number."""
    killed: set[tuple[int, int]] = set()

    def none_left() -> bool:
        found = processes_of(entries)
        kill(found)  # type: ignore[no-untyped-call]
        killed.update(found.items())
        return not found

    with contextlib.suppress(poll.TimedOut):
        poll.until(none_left, KILL_TIME, "killed processes to end")
    return len(killed)


def remove_folder(folder: FolderEntry) -> tuple[bool, bool]:
    """Remove a folder if its name is connleak's; return whether it existed, and whether it is gone."""
    if not Path(folder.path).name.startswith(PREFIX):
        return False, True
    existed = os.path.lexists(folder.path)
    remove(folder.path)  # type: ignore[no-untyped-call]
    return existed, not os.path.lexists(folder.path)


def run_command(command: CommandEntry) -> tuple[bool, bool]:
    """Run a command that removes a thing and prints its name; return whether it existed, and whether it is gone."""
    environment = {**os.environ, **command.env}
    try:
        done = subprocess.run(command.argv, env=environment, capture_output=True, check=False, timeout=COMMAND_TIME)
    except (OSError, subprocess.TimeoutExpired):
        return False, False
    return bool(done.stdout.strip()), done.returncode == 0


@dataclass(frozen=True)
class EntryKind:
    """The name of a kind of entry, and the function that removes one: did it exist, and is it gone?"""

    name: str
    remove: Callable[[Any], tuple[bool, bool]]


KINDS: dict[type[Entry], EntryKind] = {
    FolderEntry: EntryKind("folder", remove_folder),
    CommandEntry: EntryKind("container", run_command),
    ProcessEntry: EntryKind("process", lambda _: (False, True)),  # `end_processes` has ended it
    # its removal needs the server's password: `databases/external.py`
    DatabaseEntry: EntryKind("database", lambda _: (False, False)),
}
