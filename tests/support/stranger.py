"""Another local user: functions run as an account that neither connleak nor a server has."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

STRANGER = 60123
WORD = re.compile(rb"[!-~]{6,80}")


def as_stranger(attack: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function as another local user; return its result."""
    return begun_as_stranger(attack, *arguments)()


def begun_as_stranger(attack: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Start a function as another local user; return a function that waits for its result."""
    "localhost".encode("idna")  # loads the codec that a connection needs: the stranger may not read Python's files
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.environ["HOME"] = "/"
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            try:
                output = json.dumps({"found": attack(*arguments)})
            except BaseException:
                output = json.dumps({"failed": traceback.format_exc()})
            with os.fdopen(into, "w") as file:
                file.write(output)
        finally:
            os._exit(0)
    os.close(into)

    def result() -> Any:
        with os.fdopen(out) as file:
            reply = json.load(file)
        os.waitpid(pid, 0)
        assert "failed" not in reply, reply["failed"]
        return reply["found"]

    return result


def everything_in(folders: Iterable[Path]) -> list[str]:
    """Return the folders and everything in them."""
    found = []
    for folder in folders:
        found += [str(folder), *(str(path) for path in folder.rglob("*"))]
    return found


def readable(paths: Iterable[str]) -> list[str]:
    """Return the files that can be opened for reading."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
            if not Path(path).is_dir():
                found.append(path)
    return found


def writable(paths: Iterable[str]) -> list[str]:
    """Return the files that can be changed and the folders in which something can be replaced."""
    found = [path for path in paths if os.access(path, os.W_OK) and not Path(path).is_symlink()]
    for path in found.copy():
        with contextlib.suppress(OSError):
            Path(path, "planted").touch()
    return found


def enterable(paths: Iterable[str]) -> list[str]:
    """Return the sockets that can be connected to."""
    found = []
    for path in paths:
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as line:
                line.connect(path)
                found.append(path)
    return found


def seen_in_proc() -> str:
    """Return every command line and environment that can be read."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            if int(path.name) != os.getpid():
                with contextlib.suppress(OSError):
                    found.append((path / name).read_bytes().decode("utf-8", "replace"))
    return "\n".join(found)


def words_of(paths: Iterable[str]) -> list[str]:
    """Return every word in readable files that may be a password."""
    found: set[str] = set()
    for path in readable(paths):
        with contextlib.suppress(OSError):
            found |= {word.decode() for word in WORD.findall(Path(path).read_bytes()[: 1 << 20])}
    return sorted(found)


def watching(folder: Path, until: Path) -> list[str]:
    """Return every word that may be a password in files that are readable in a folder until a file exists."""
    found: set[str] = set()
    while not until.exists():
        found |= set(words_of(path for path in walk(folder) if "/programs-" not in path))
    return sorted(found)


def walk(folder: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                yield from walk(Path(entry.path))
