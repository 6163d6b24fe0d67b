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
from connleak.processes.threads import Report, Supervised
from connleak.recording import folders
from connleak.recording.folders import write_json
from connleak.recording.format import json_line

FILE = "control.json"
REQUEST = b"holders\n"
ANSWER_TIMEOUT = 10.0
"""Seconds in which an answer must arrive."""
CLIENT_TIMEOUT = 1.0
"""Seconds that a client may take to send its request, and to read."""
MAX_ANSWER = 64 << 20
"""Maximum size of an answer, in bytes."""
MAX_FILE = 10_000
"""Maximum size of control.json, in bytes."""
SOCKET = "control.sock"


class ControlFile(Struct, frozen=True):
    """The process that records into a folder, and the path of its socket."""

    pid: int
    path: str


class Answer(Struct, frozen=True, omit_defaults=True):
    """The table, or the reason why there is none."""

    table: Table | None = None
    error: str = ""


_control_file = msgspec.json.Decoder(ControlFile)
_answer = msgspec.json.Decoder(Answer)


class Control:
    """The server of the socket, in a thread of its own."""

    def __init__(self, folder: Path, scratch: Path, answer: Callable[[], Table], report: Report) -> None:
        self._file = folder / FILE
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
            write_json(self._file, ControlFile(os.getpid(), str(self._path)))
        return self

    def __exit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)
        self._stop = True
        self._thread.join(ANSWER_TIMEOUT)
        self._listener.close()

    def _run(self) -> None:
        while not self._stop:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                time.sleep(0.1)  # no descriptor is left, or the client has gone
                continue
            with connection, contextlib.suppress(OSError):
                connection.settimeout(CLIENT_TIMEOUT)
                if is_same_user(connection) and connection.recv(len(REQUEST)) == REQUEST:
                    connection.sendall(json_line(self._answer()).encode())

    def _answer(self) -> Answer:
        try:
            return Answer(self._table())
        except Error as error:
            return Answer(error=error.message)
        except Exception as error:
            return Answer(error=f"there is no table now: {error!r:.200}")


def request_table(folder: Path) -> Answer | None:
    """Return the answer of the connleak process that records into a folder; None if there is no such process."""
    try:
        owner = decode(_control_file, folders.read(folder / FILE, MAX_FILE))
    except (OSError, Error, InvalidMessage):
        return None
    if not is_control_socket(Path(owner.path)):  # a copied or downloaded folder may name any socket
        return None
    deadline = time.monotonic() + ANSWER_TIMEOUT
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.settimeout(ANSWER_TIMEOUT)
            connection.connect(owner.path)
            pid, _ = peer_credentials(connection)
            if pid != owner.pid or not (is_same_user(connection) or os.geteuid() == 0):
                return None
            connection.sendall(REQUEST)
            data = received(connection, deadline)
        except TimeoutError:
            return Answer(error=f"its connleak process (pid {owner.pid}) did not answer within {ANSWER_TIMEOUT:.0f} s")
        except (OSError, ValueError, struct.error):
            return None
    try:
        return decode(_answer, data) if data else None
    except InvalidMessage as error:
        return Answer(error=f"the answer of pid {owner.pid} cannot be decoded: {error}")


def is_control_socket(path: Path) -> bool:
    """Return whether a path may be a session's socket: the name that `Control` gives it, in a scratch folder."""
    return path.name == SOCKET and path.parent.name.startswith(PREFIX)


def received(connection: socket.socket, deadline: float) -> bytes:
    """Return the bytes up to the end of the connection; raise TimeoutError, or ValueError for too many bytes."""
    data = b""
    while part := connection.recv(1 << 18):
        data += part
        if len(data) > MAX_ANSWER:
            raise ValueError(f"more than {MAX_ANSWER} bytes")
        connection.settimeout(max(0.01, deadline - time.monotonic()))
    return data
