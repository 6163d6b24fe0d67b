"""Where a run that goes on is asked who has what: a local socket, for this user and root, named in the run's folder.

`control.json` says where it is while it is there. Nobody is signalled: who asks a run that has ended finds nobody.
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
"""Seconds in which an answer must have come."""
SLOW = 1.0
"""Seconds that who asks may take to ask, and to read."""
LARGEST = 64 << 20
SMALL = 10_000
"""Bytes that control.json may have."""
SOCKET = "control.sock"


class Where(Struct, frozen=True):
    """Who records into a folder, and where it is asked."""

    pid: int
    path: str


class Answer(Struct, frozen=True, omit_defaults=True):
    """The table, or why there is none."""

    table: Table | None = None
    error: str = ""


_where = msgspec.json.Decoder(Where)
_answer = msgspec.json.Decoder(Answer)


class Control:
    """Answers in a thread of its own, from when it is opened until it is closed."""

    def __init__(self, folder: Path, scratch: Path, ask: Callable[[], Table], tell: Tell) -> None:
        self._file = folder / NAME
        self._path = scratch / SOCKET
        self._ask = ask
        self._stop = False
        self._thread = Supervised("control", self._run, tell)

    def __enter__(self) -> Control:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(64)
        self._listener.settimeout(0.1)
        self._thread.start()
        with contextlib.suppress(OSError):  # a folder that takes nothing ends the run elsewhere, and says why
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
                time.sleep(0.1)  # no descriptor is left, or who asked has gone
                continue
            with line, contextlib.suppress(OSError):
                line.settimeout(SLOW)
                if is_same_user(line) and line.recv(len(QUESTION)) == QUESTION:
                    line.sendall(json_line(self._answer()).encode())

    def _answer(self) -> Answer:
        try:
            return Answer(self._ask())
        except Error as error:
            return Answer(error=error.message)
        except Exception as error:
            return Answer(error=f"nobody can be asked now: {error!r:.200}")


def ask(folder: Path) -> Answer | None:
    """Returns what the connleak that records into a folder now answers; None when there is none."""
    try:
        where = decode(_where, folders.read(folder / NAME, SMALL))
    except (OSError, Error, InvalidMessage):
        return None
    if not is_control_socket(Path(where.path)):  # a folder of a stranger's may name any socket
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
            told = f"the connleak that records into it (pid {where.pid}) did not answer within {PATIENCE:.0f} s"
            return Answer(error=told)
        except (OSError, ValueError, struct.error):
            return None
    try:
        return decode(_answer, data) if data else None
    except InvalidMessage as error:
        return Answer(error=f"what pid {where.pid} answered could not be understood: {error}")


def is_control_socket(path: Path) -> bool:
    """Tell whether a path may be where a run answers: the name that `Control` gives, in a scratch folder."""
    return path.name == SOCKET and path.parent.name.startswith(PREFIX)


def received(line: socket.socket, deadline: float) -> bytes:
    """Returns all that is said until the other end closes; raises TimeoutError, or ValueError when it is too much."""
    data = b""
    while part := line.recv(1 << 18):
        data += part
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        line.settimeout(max(0.01, deadline - time.monotonic()))
    return data
