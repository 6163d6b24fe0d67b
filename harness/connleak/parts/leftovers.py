"""What would outlive a killed run: recorded before it is made, removed by the next start.

A record is a file in the state folder with one line of JSON for each thing that its owner makes. The owner holds a
lock (flock) on it, which the kernel releases when the owner ends, however it ends. So a record that can be locked has
no owner, and what it names is left over. Pids are no proof of that: they repeat, in containers soon.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import secrets
import shutil
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import platformdirs

from connleak.model import Struct
from connleak.parts.keeper import kill, processes, remove_segments

MARK = "CONNLEAK_KEEPER"
"""The variable in every child's environment that names the scratch folder of the run that started it."""
PREFIX = "connleak-"
"""What the name of every folder that a record names begins with: no other is ever removed."""
FORGOTTEN = 30 * 86400.0
"""Seconds after which a record is dropped whose things cannot be reached from here."""
PATIENCE = 5.0
"""Seconds in which killed processes must have ended."""
COMMAND_TIME = 30.0


class Owner(Struct, frozen=True, tag=True):
    """The first line of a record: on which machine, in which of its boots, and when."""

    node: str
    boot: str
    at: float


class Folder(Struct, frozen=True, tag=True):
    path: str


class Worktree(Struct, frozen=True, tag=True):
    """A git work tree, and the folder in which its repository keeps it registered."""

    path: str
    registered: str


class Child(Struct, frozen=True, tag=True):
    """A started process: a killed PostgreSQL leaves a System V segment, which names its maker by pid."""

    pid: int
    at: float


class Command(Struct, frozen=True, tag=True):
    """A command that removes what is neither a process nor a file, such as a container."""

    removes: str
    argv: tuple[str, ...]
    env: dict[str, str]


class Database(Struct, frozen=True, tag=True):
    """A database, and the role or user of the same name, on a server whose address is kept without its password."""

    server: str
    name: str


Thing = Folder | Worktree | Child | Command | Database


class Record:
    """The things that one owner makes, in a file that is locked while the owner lives.

    Where no state folder can be written to, there is no file: the run goes on, and removes its things at its end.
    """

    def __init__(self, path: Path | None, fd: int) -> None:
        self.path = path
        self.fd = fd
        """Whoever inherits it owns the record, too."""
        self.owner = Owner(platform.node(), boot(), time.time())
        self.things: list[Thing] = []

    def add(self, thing: Thing) -> None:
        """Records a thing that is about to be made."""
        self.things.append(thing)
        self.write(thing)

    def write(self, line: Thing | Owner) -> None:
        with contextlib.suppress(OSError):  # a full disk
            os.write(self.fd, msgspec.json.encode(line) + b"\n")

    def folder(self, inside: Path, name: str = "") -> Path:
        """Returns a new folder of which the record knows."""
        folder = inside / f"{PREFIX}{name}{secrets.token_hex(6)}"
        self.add(Folder(str(folder)))
        folder.mkdir(mode=0o700)
        return folder

    def clear(self) -> Counter[str]:
        """Removes what is recorded, then the record unless something remains; returns how many of what it removed."""
        removed = Counter({"process": end_processes(folders_of(self.things))})
        remaining = 0
        for thing in sorted(self.things, key=lambda thing: isinstance(thing, (Folder, Worktree))):
            there, gone = REMOVERS[type(thing)](thing)
            removed[WORDS[type(thing)]] += there and gone
            remaining += not gone
        if self.owner.boot == boot():
            removed["shared memory segment"] += remove_segments(  # type: ignore[no-untyped-call]
                {thing.pid: thing.at for thing in self.things if isinstance(thing, Child)}
            )
        if not remaining or time.time() - self.owner.at > FORGOTTEN:
            self.forget()
        else:
            self.close()
        return +removed

    def forget(self) -> None:
        """Removes the record: nothing that it names is there any more."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Gives the record up; its things are left over unless another owner has it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def begin() -> Record:
    """Returns a new record, locked."""
    folder = state_folder()
    with contextlib.suppress(OSError):
        while folder is not None:
            path = folder / f"{secrets.token_hex(6)}.jsonl"
            record = Record(path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600))
            try:
                fcntl.flock(record.fd, fcntl.LOCK_EX)
            except BaseException:
                record.forget()
                raise
            if os.fstat(record.fd).st_nlink:  # else a sweep came before the lock
                record.write(record.owner)
                return record
            record.close()
    return Record(None, os.open(os.devnull, os.O_WRONLY))


@contextlib.contextmanager
def recorded() -> Iterator[Record]:
    """Yields a record; at the end all that it names is removed, also when that is interrupted once."""
    record = begin()
    try:
        yield record
    finally:
        surely(record.clear)


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


def surely(act: Callable[[], object]) -> None:
    """Does what must be done at the end; when that is interrupted, does it again before the interruption goes on."""
    try:
        act()
    except KeyboardInterrupt:
        act()
        raise


def sweep() -> Counter[str]:
    """Removes what owners left that have ended; returns how many of what."""
    removed: Counter[str] = Counter()
    for record in left():
        if record.owner.node == platform.node():
            removed += record.clear()
        elif time.time() - record.owner.at > FORGOTTEN:
            record.forget()
    return removed


def swept(removed: Counter[str]) -> str:
    """Returns in words what a sweep removed, nothing where that was nothing."""
    plural = {name: f"{name}{'es' if name.endswith('s') else 's'}" for name in removed}
    counts = ", ".join(f"{count} {name if count == 1 else plural[name]}" for name, count in removed.items())
    return f"removed what a killed run left: {counts}" if counts else ""


def found() -> Iterator[str]:
    """Yields in words what is left over."""
    for record in left():
        count = len(processes_in(folders_of(record.things)))
        if count:
            yield f"{count} process{'es' if count > 1 else ''}"
        for thing in record.things:
            if isinstance(thing, (Folder, Worktree)) and Path(thing.path).exists():
                yield thing.path
            elif isinstance(thing, Database):
                yield f"database {thing.name} at {thing.server} (dropped by the next run with that address)"
            elif isinstance(thing, Command):
                yield thing.removes


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


def left() -> Iterator[Record]:
    """Yields the records whose owner has ended, each locked until the next is asked for."""
    folder = state_folder()
    for path in sorted(folder.glob("*.jsonl")) if folder else ():
        try:
            record = Record(path, os.open(path, os.O_RDWR | os.O_NOFOLLOW))
        except OSError:
            continue
        try:
            fcntl.flock(record.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            about = os.fstat(record.fd)
            if about.st_nlink and about.st_uid == os.geteuid():
                lines = read(path)
                record.owner = next((line for line in lines if isinstance(line, Owner)), Owner(platform.node(), "", 0))
                record.things = [line for line in lines if not isinstance(line, Owner)]
                yield record
        except OSError:
            pass  # its owner lives
        finally:
            record.close()


def read(path: Path) -> list[Thing | Owner]:
    """Returns the lines of a record; one that was cut short by a kill is left out: its thing was not made yet."""
    lines = []
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                lines.append(msgspec.json.decode(line, type=Thing | Owner))
    return lines


def state_folder() -> Path | None:
    """Returns the folder of the records, made when new; None where none is to be had.

    It is in /tmp for an account without a home, as containers have them.
    """
    if os.environ.get("CONNLEAK_STATE"):
        candidates = [Path(os.environ["CONNLEAK_STATE"])]
    elif os.geteuid() == 0:
        candidates = [Path("/var/lib/connleak")]
    else:
        candidates = [Path(platformdirs.user_state_dir("connleak", appauthor=False))]
        candidates.append(Path(f"/tmp/.connleak-state-{os.geteuid()}"))
    return next(filter(is_ours, candidates), None)


def is_ours(folder: Path) -> bool:
    """Tells whether a folder, made when new, is one that nobody else can write to: what stands in it is obeyed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(about.st_mode) and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return private and about.st_uid == os.geteuid() and os.access(folder, os.W_OK)


def boot() -> str:
    """Returns what names this boot of the machine: no pid is older."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def folders_of(things: Iterable[Thing]) -> list[Path]:
    return [Path(thing.path) for thing in things if isinstance(thing, Folder)]


def processes_in(folders: Sequence[Path]) -> dict[int, int]:
    """Returns {pid: start} of the living processes that the runs of these scratch folders started, and their children.

    They are told by their environment; where a program has written over it, as PostgreSQL does, by where they are.
    """
    if not folders:
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


def end_processes(folders: Sequence[Path]) -> int:
    """Kills the processes of these scratch folders until none is left; returns how many there were."""
    ended: set[tuple[int, int]] = set()
    deadline = time.monotonic() + PATIENCE
    while (found := processes_in(folders)) and time.monotonic() < deadline:
        kill(found)  # type: ignore[no-untyped-call]
        ended |= set(found.items())
        time.sleep(0.02)
    return len(ended)


def remove_folder(path: str) -> tuple[bool, bool]:
    """Removes a folder of ours; returns whether it was there, and whether it is gone."""
    if not Path(path).name.startswith(PREFIX):
        return False, True
    there = os.path.lexists(path)
    shutil.rmtree(path, ignore_errors=True)
    return there, not os.path.lexists(path)


def remove_worktree(thing: Worktree) -> tuple[bool, bool]:
    """Removes a work tree as git does, also one that git had not finished."""
    there, gone = zip(remove_folder(thing.path), remove_folder(thing.registered), strict=True)
    with contextlib.suppress(OSError):
        Path(thing.registered).parent.rmdir()  # only when it was the last
    return any(there), all(gone)


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
    Worktree: remove_worktree,
    Command: run_command,
    Child: lambda _: (False, True),
    Database: lambda _: (False, False),
}
"""How each kind of thing is removed: whether it was there, and whether it is gone.

A database takes its server's address: `drop_left`.
"""
WORDS: dict[type[Thing], str] = {
    Folder: "folder", Worktree: "work tree", Command: "container", Child: "process", Database: "database",
}  # fmt: skip
