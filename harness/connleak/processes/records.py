"""Records of everything that would outlive a killed run, written before it is made.

A record is a file in the state folder with one line of JSON for each thing that its owner makes. The owner holds a
lock (flock) on it, which the kernel releases when the owner ends, however it ends. So a record that can be locked has
no owner, and what it names is left over. A pid cannot prove that: pids are reused, soon so in containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import platformdirs

from connleak.model.struct import Struct

PREFIX = "connleak-"
"""The name of every folder in a record begins with it: no other folder is ever removed."""


class Owner(Struct, frozen=True, tag="Owner"):
    """The first line of a record: the machine, its boot, and the time."""

    node: str
    boot: str
    at: float


class FolderEntry(Struct, frozen=True, tag="Folder"):
    """A scratch folder."""

    path: str


class ProcessEntry(Struct, frozen=True, tag="Child"):
    """A started process: a killed PostgreSQL leaves a System V segment, which names its creator's pid."""

    pid: int
    at: float


class CommandEntry(Struct, frozen=True, tag="Command"):
    """A command that removes what is neither a process nor a file, such as a container."""

    removes: str
    argv: tuple[str, ...]
    env: dict[str, str]


class DatabaseEntry(Struct, frozen=True, tag="Database"):
    """A database, and the role or user of the same name, on a server whose address is kept without its password."""

    server: str
    name: str


Entry = FolderEntry | ProcessEntry | CommandEntry | DatabaseEntry


class Record:
    """The things that one owner makes, in a file that is locked while the owner lives.

    Without a writable state folder there is no file: the run continues, and removes its things at its end.
    """

    def __init__(self, path: Path | None, fd: int) -> None:
        self.path = path
        self.fd = fd
        """A process that inherits it is an owner of the record, too."""
        self.owner = Owner(platform.node(), boot_id(), time.time())
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """Record a thing that is about to be made."""
        self.entries.append(entry)
        self.write(entry)

    def write(self, line: Entry | Owner) -> None:
        with contextlib.suppress(OSError):  # a full disk
            os.write(self.fd, msgspec.json.encode(line) + b"\n")

    def folder(self, inside: Path, name: str = "") -> Path:
        """Make a folder, recorded before it exists, and return it."""
        folder = inside / f"{PREFIX}{name}{secrets.token_hex(6)}"
        self.add(FolderEntry(str(folder)))
        folder.mkdir(mode=0o700)
        return folder

    def remove(self) -> None:
        """Remove the record, once nothing that it names exists any more."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the record; without another owner its things are left over."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def create() -> Record:
    """Return a new, locked record."""
    folder = state_folder()
    with contextlib.suppress(OSError):
        while folder is not None:
            path = folder / f"{secrets.token_hex(6)}.jsonl"
            record = Record(path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600))
            try:
                fcntl.flock(record.fd, fcntl.LOCK_EX)
            except BaseException:
                record.remove()
                raise
            if os.fstat(record.fd).st_nlink:  # else a sweep removed the file before the lock was taken
                record.write(record.owner)
                return record
            record.close()
    return Record(None, os.open(os.devnull, os.O_WRONLY))


def abandoned() -> Iterator[Record]:
    """Yield the records whose owner has ended, each locked until the next one."""
    folder = state_folder()
    for path in sorted(folder.glob("*.jsonl")) if folder else ():
        try:
            record = Record(path, os.open(path, os.O_RDWR | os.O_NOFOLLOW))
        except OSError:
            continue
        try:
            fcntl.flock(record.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(record.fd)
            if status.st_nlink and status.st_uid == os.geteuid():
                lines = read(path)
                record.owner = next((line for line in lines if isinstance(line, Owner)), Owner(platform.node(), "", 0))
                record.entries = [line for line in lines if not isinstance(line, Owner)]
                yield record
        except OSError:
            pass  # its owner lives
        finally:
            record.close()


def read(path: Path) -> list[Entry | Owner]:
    """Return the lines of a record, without one that a kill cut short: its thing had not been made yet."""
    lines = []
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                lines.append(msgspec.json.decode(line, type=Entry | Owner))
    return lines


def state_folder() -> Path | None:
    """Return the folder of the records, creating it if needed; None if no candidate is private and writable.

    For an account without a home, as containers have them, it is in /tmp.
    """
    if os.environ.get("CONNLEAK_STATE"):
        candidates = [Path(os.environ["CONNLEAK_STATE"])]
    elif os.geteuid() == 0:
        candidates = [Path("/var/lib/connleak")]
    else:
        candidates = [Path(f"/tmp/.connleak-state-{os.geteuid()}")]
        with contextlib.suppress(RuntimeError):  # it has neither HOME nor an entry in passwd
            candidates.insert(0, Path(platformdirs.user_state_dir("connleak", appauthor=False)))
    return next(filter(is_private, candidates), None)


def is_private(folder: Path) -> bool:
    """Return whether no other account can write to a folder, which is created if needed: its records are executed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(status.st_mode) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return private and status.st_uid == os.geteuid() and os.access(folder, os.W_OK)


def boot_id() -> str:
    """Return the id of this boot of the machine: a pid is valid within one boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
