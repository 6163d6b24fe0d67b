"""A local socket at which this user and root get the current holder table of a session.

`control.json` in the session's folder has its path while the session runs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.model.verdict import Table
from connleak.processes.decoding import InvalidMessage, decode
from connleak.processes.records import PREFIX
from connleak.processes.sockets import is_same_user, peer_credentials
from connleak.processes.threads import Supervised, Tell
from connleak.recording import folders
from connleak.recording.folders import write_json
from connleak.recording.format import json_line

NAME = "control.json"
QUESTION = b"holders\n"
PATIENCE = 10.0
"""Seconds in which an answer must arrive."""
SLOW = 1.0
"""Seconds that a client may take to send its request, and to read."""
LARGEST = 64 << 20
"""Bytes of an answer."""
SMALL = 10_000
"""Bytes of control.json."""
SOCKET = "control.sock"


class Where(Struct, frozen=True):
    """The process that records into a folder, and the path of its socket."""

    pid: int
    path: str


class Answer(Struct, frozen=True, omit_defaults=True):
    """The table, or the reason why there is none."""

    table: Table | None = None
    error: str = ""


_where = msgspec.json.Decoder(Where)
_answer = msgspec.json.Decoder(Answer)


class Control:
    """The server of the socket, in a thread of its own."""

    def __init__(self, folder: Path, scratch: Path, answer: Callable[[], Table], report: Tell) -> None:
        self._file = folder / NAME
        self._path = scratch / SOCKET
        self._table = answer
        self._stop = False
        self._thread = Supervised("control", self._run, report)

    def __enter__(self) -> Control:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(64)
        self._listener.settimeout(0.1)
        self._thread.start()
        with contextlib.suppress(OSError):  # the writer reports a folder that cannot be written
            write_json(self._file, Where(os.getpid(), str(self._path)))
        return self

    def __exit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)
        self._stop = True
        self._thread.join(PATIENCE)
        self._listener.close()

    def _run(self) -> None:
        while not self._stop:
            try:
                line, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                time.sleep(0.1)  # no descriptor is left, or the client has gone
                continue
            with line, contextlib.suppress(OSError):
                line.settimeout(SLOW)
                if is_same_user(line) and line.recv(len(QUESTION)) == QUESTION:
                    line.sendall(json_line(self._answer()).encode())

    def _answer(self) -> Answer:
        try:
            return Answer(self._table())
        except Error as error:
            return Answer(error=error.message)
        except Exception as error:
            return Answer(error=f"there is no table now: {error!r:.200}")


def ask(folder: Path) -> Answer | None:
    """Return the answer of the connleak that records into a folder; None if none does."""
    try:
        where = decode(_where, folders.read(folder / NAME, SMALL))
    except (OSError, Error, InvalidMessage):
        return None
    if not is_control_socket(Path(where.path)):  # a folder from elsewhere may name any socket
        return None
    deadline = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.settimeout(PATIENCE)
            line.connect(where.path)
            pid, _ = peer_credentials(line)
            if pid != where.pid or not (is_same_user(line) or os.geteuid() == 0):
                return None
            line.sendall(QUESTION)
            data = received(line, deadline)
        except TimeoutError:
            why = f"the connleak that records into it (pid {where.pid}) did not answer within {PATIENCE:.0f} s"
            return Answer(error=why)
        except (OSError, ValueError, struct.error):
            return None
    try:
        return decode(_answer, data) if data else None
    except InvalidMessage as error:
        return Answer(error=f"the answer of pid {where.pid} cannot be decoded: {error}")


def is_control_socket(path: Path) -> bool:
    """Tell if a path may be a session's socket: the name that `Control` gives it, in a scratch folder."""
    return path.name == SOCKET and path.parent.name.startswith(PREFIX)


def received(line: socket.socket, deadline: float) -> bytes:
    """Return the bytes up to the end of the connection; raise TimeoutError, or ValueError for too many bytes."""
    data = b""
    while part := line.recv(1 << 18):
        data += part
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        line.settimeout(max(0.01, deadline - time.monotonic()))
    return data
