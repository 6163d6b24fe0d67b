"""Files of a folder that an untrusted person may have made: a recording attached to an issue, a folder of reports.

A name is read only when it is a regular file in that very folder.
No link is followed, no read blocks on a FIFO or device, and no file is read beyond a fixed size.
Writing creates a new file that replaces the name, so the file that the name led to stays unchanged.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from connleak.model.errors import Error
from connleak.recording.format import json_text

MAX_DOCUMENT = 50_000_000
"""Bytes: the largest file that is read as a whole."""
MAX_STREAM = 2_000_000_000
"""Bytes: the largest file that is read line by line."""
MAX_LINE = 8_000_000
"""Bytes of a line that are kept; a sample of 20 000 sessions has fewer."""
CHUNK = 1 << 20
PRIVATE, SHARED = 0o600, 0o666
"""Modes of new files: PRIVATE in a run's folder, SHARED (less the umask) where the user named the place."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def follow_link(name: str | Path) -> Path:
    """Return the folder that a user named; for a link such as `reports/latest`, its target."""
    path = Path(name)
    if not os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises for a name that is too long
        return path
    target = path.parent / path.readlink()
    return Path(os.path.realpath(path)) if target.is_symlink() else target


def child(folder: Path, name: str) -> Path:
    """Return the path of an entry of a folder that a file names; raise Error for a name that leads out of it."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise Error(f"{folder} names a folder outside of it: {name!r}", list_command(folder))
    return folder / name


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file, not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def read(path: Path, limit: int = MAX_DOCUMENT) -> bytes:
    """Return a file's content; raise OSError when it cannot be read, Error when it must not be."""
    with open_file(path, limit) as file:
        data = file.read(limit + 1)
    if len(data) > limit:  # it has grown since it was opened
        raise too_large(path, limit)
    return data


def read_text(path: Path) -> str:
    """Return a file's text, with a replacement character for bytes that are not UTF-8."""
    return read(path).decode("utf-8", errors="replace")


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, each cut to MAX_LINE bytes."""
    with open_file(path, MAX_STREAM) as file:
        while line := file.readline(MAX_LINE):
            yield line
            part = line if len(line) == MAX_LINE else b""
            while part and not part.endswith(b"\n"):
                part = file.readline(CHUNK)


@contextlib.contextmanager
def open_file(path: Path, limit: int) -> Iterator[BinaryIO]:
    """Yield a file opened for reading; see `need_regular_file`."""
    with open_directory(path.parent) as at:
        need_regular_file(path, os.stat(path.name, dir_fd=at, follow_symlinks=False), limit)
        file = os.fdopen(os.open(path.name, READ, dir_fd=at), "rb")
    with file:
        need_regular_file(path, os.fstat(file.fileno()), limit)  # the name may refer to another file by now
        yield file


def need_regular_file(path: Path, found: os.stat_result, limit: int) -> None:
    """Raise Error for anything but a regular file with one name and at most `limit` bytes."""
    command = list_command(path.parent)
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device or socket")
        raise Error(f"{path} is {kind}, not a file: it is not read", command)
    if found.st_nlink > 1:
        raise Error(f"{path} is a hard link to a file with another name: it is not read", command)
    if found.st_size > limit:
        raise too_large(path, limit)


def too_large(path: Path, limit: int) -> Error:
    return Error(f"{path} is larger than {limit / 1e6:,.0f} MB: it is not read", list_command(path.parent))


def list_command(folder: Path) -> str:
    """Return the shell command that lists a folder."""
    return f"ls -l {shlex.quote(str(folder))}"


@contextlib.contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """Yield a folder's descriptor; raise Error when it is a link (see `follow_link`), OSError when it is not there."""
    try:
        at = os.open(path, DIRECTORY)
    except NotADirectoryError:
        if path.is_symlink():
            raise Error(f"{path} is a symbolic link: it is not followed", list_command(path.parent)) from None
        raise
    try:
        yield at
    finally:
        os.close(at)


def write(path: Path, data: str | bytes, mode: int = PRIVATE) -> None:
    """Write a file, whole or not at all; it replaces anything else of that name except a folder."""
    with open_directory(path.parent) as at:
        part = f".{secrets.token_hex(8)}.part"
        descriptor = os.open(part, NEW, mode, dir_fd=at)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data.encode("utf-8", errors="replace") if isinstance(data, str) else data)
            os.replace(part, path.name, src_dir_fd=at, dst_dir_fd=at)
        except BaseException as error:
            os.unlink(part, dir_fd=at)
            if isinstance(error, IsADirectoryError):
                raise Error(f"{path} is a folder: no file can be written there", list_command(path.parent)) from None
            raise


def write_json(path: Path, value: object) -> None:
    """Write one JSON document, whole or not at all."""
    write(path, json_text(value))


def append(path: Path) -> BinaryIO:
    """Return a file opened for appending, created if needed; raise Error when its name is not a regular file's."""
    with open_directory(path.parent) as at:
        with contextlib.suppress(FileNotFoundError):
            need_regular_file(path, os.stat(path.name, dir_fd=at, follow_symlinks=False), MAX_STREAM)
        file = os.fdopen(os.open(path.name, APPEND, PRIVATE, dir_fd=at), "ab", buffering=1 << 16)
    need_regular_file(path, os.fstat(file.fileno()), MAX_STREAM)
    return file


def folder_for(out: str | None, stem: str) -> Path:
    """Return the folder of --out, or a new one in reports/."""
    return empty_folder(out) if out else new_folder(Path("reports"), stem)


def empty_folder(name: str) -> Path:
    """Return the folder of --out, created if needed; raise Error when it is not empty."""
    folder = Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Error(f"--out {name} is not an empty folder; a recording is never overwritten", f"ls {name}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"--out {name}: {error.strerror}", "connleak run ... --out DIR") from None
    return folder


def new_folder(reports: Path, stem: str) -> Path:
    """Create and return `reports/<time>-<stem>`, with a number at the end if that name exists."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{stem}"
    for number in range(1, 1000):
        folder = reports / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise Error(f"cannot write to {reports}: {error.strerror}", "connleak run ... --out DIR") from None
        return folder
    raise Error(f"{reports} has 1000 runs of the same second", "connleak run ... --out DIR")


def point_latest(folder: Path) -> None:
    """Point the link `latest` beside a folder to it; do nothing on a file system without links."""
    link = folder.parent / "latest"
    part = folder.parent / f".latest-{os.getpid()}"
    with contextlib.suppress(OSError):
        part.symlink_to(folder.name)
        part.replace(link)
