"""Files of a folder that anybody may have made: a recording from an issue, a folder of reports.

A name stands for a regular file in that very folder, or for nothing: no link is followed, no FIFO or device is waited
for, no file is read beyond its bound. What is written is a new file that takes the name's place, so that nothing which
the name led to is changed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from connleak.model.errors import Error

DOCUMENT = 50_000_000
"""Bytes that a file may have which is read as a whole."""
STREAM = 2_000_000_000
"""Bytes that a file may have which is read line by line."""
LINE = 8_000_000
"""Bytes of a line that are kept; a sample of 20 000 sessions has fewer."""
CHUNK = 1 << 20
OURS, SHARED = 0o600, 0o666
"""Modes of new files: of a run's folder, which is its owner's only, and of files whose place a person named."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def named(name: str | Path) -> Path:
    """Returns the folder that a person named; where the name is a link (`reports/latest`), what it leads to."""
    path = Path(name)
    if not os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises for a name that is too long
        return path
    beside = path.parent / path.readlink()
    return Path(os.path.realpath(path)) if beside.is_symlink() else beside


def child(folder: Path, name: str) -> Path:
    """Returns what a file says lies in its folder; raises Error for a name that leads out of it."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise Error(f"{folder} names a folder outside of it: {name!r}", look(folder))
    return folder / name


def has(path: Path) -> bool:
    """Tells whether a regular file has that name."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def read(path: Path, most: int = DOCUMENT) -> bytes:
    """Returns what a file holds; raises OSError when it cannot be read, Error when it is none to be read."""
    with opened(path, most) as file:
        data = file.read(most + 1)
    if len(data) > most:  # it has grown since
        raise too_large(path, most)
    return data


def read_text(path: Path) -> str:
    """Returns the text that a file holds; bytes that are no UTF-8 are replaced."""
    return read(path).decode("utf-8", errors="replace")


def lines(path: Path) -> Iterator[bytes]:
    """Yields the lines of a file, of one that is too long its first LINE bytes."""
    with opened(path, STREAM) as file:
        while line := file.readline(LINE):
            yield line
            rest = line if len(line) == LINE else b""
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(CHUNK)


@contextlib.contextmanager
def opened(path: Path, most: int) -> Iterator[BinaryIO]:
    """Yields a file to read; raises Error for what is no regular file with one name, or too large."""
    with directory(path.parent) as at:
        need_plain(path, os.stat(path.name, dir_fd=at, follow_symlinks=False), most)
        file = os.fdopen(os.open(path.name, READ, dir_fd=at), "rb")
    with file:
        need_plain(path, os.fstat(file.fileno()), most)  # of what was opened, whatever the name stood for before
        yield file


def need_plain(path: Path, found: os.stat_result, most: int) -> None:
    """Raises Error for what is no regular file, has another name elsewhere, or is too large."""
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device or socket")
        raise Error(f"{path} is {kind}, not a file: it is not read", look(path.parent))
    if found.st_nlink > 1:
        raise Error(f"{path} is a hard link to a file that lies elsewhere, too: it is not read", look(path.parent))
    if found.st_size > most:
        raise too_large(path, most)


def too_large(path: Path, most: int) -> Error:
    return Error(f"{path} is larger than {most / 1e6:,.0f} MB: it is not read", look(path.parent))


def look(folder: Path) -> str:
    """Returns the command that shows what lies in a folder."""
    return f"ls -l {shlex.quote(str(folder))}"


@contextlib.contextmanager
def directory(path: Path) -> Iterator[int]:
    """Yields a folder's descriptor; raises Error when it is a link (see `named`), OSError when it is none."""
    try:
        at = os.open(path, DIRECTORY)
    except NotADirectoryError:
        if path.is_symlink():
            raise Error(f"{path} is a symbolic link: it is not followed", look(path.parent)) from None
        raise
    try:
        yield at
    finally:
        os.close(at)


def write(path: Path, data: str | bytes, mode: int = OURS) -> None:
    """Writes a new file in the place of whatever has its name: whole, or not at all."""
    with directory(path.parent) as at:
        part = f".{secrets.token_hex(8)}.part"
        descriptor = os.open(part, NEW, mode, dir_fd=at)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data.encode("utf-8", errors="replace") if isinstance(data, str) else data)
            os.replace(part, path.name, src_dir_fd=at, dst_dir_fd=at)
        except BaseException as error:
            os.unlink(part, dir_fd=at)
            if isinstance(error, IsADirectoryError):
                raise Error(f"{path} is a folder: no file can be written there", look(path.parent)) from None
            raise


def append(path: Path) -> BinaryIO:
    """Returns a file to append to, new or there already; raises Error when its name leads elsewhere."""
    with directory(path.parent) as at:
        with contextlib.suppress(FileNotFoundError):
            need_plain(path, os.stat(path.name, dir_fd=at, follow_symlinks=False), STREAM)
        file = os.fdopen(os.open(path.name, APPEND, OURS, dir_fd=at), "ab", buffering=1 << 16)
    need_plain(path, os.fstat(file.fileno()), STREAM)
    return file
