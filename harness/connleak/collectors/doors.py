"""Listening sockets where strangers may knock: few wait at a time, none for long, and a full process pauses."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable

PATIENCE = 10.0
"""Seconds in which a connection must show who it is."""
WAITING = 64
"""Connections over TCP that may wait for that at once; the oldest makes room."""
LOCAL, LOCAL_WAITING = 4096, 1024
"""Connections of this machine's processes at once, and those of them that may wait: many may be forked at once."""
PAUSE = 0.5
"""Seconds for which nobody is let in when there are no descriptors left."""
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
CREDENTIALS = struct.Struct("iII")


class Door:
    """A listening socket, and the connections that came in by it and have not shown yet who they are."""

    def __init__(self, listener: socket.socket, most: int = LOCAL, waiting: int = LOCAL_WAITING) -> None:
        """Lets at most so many known connections be there at once, and so many that wait to be."""
        listener.setblocking(False)
        self.listener = listener
        self.trouble = ""
        """Why nobody could be let in, the last time."""
        self._most = most
        self._most_waiting = waiting
        self._known: set[socket.socket] = set()
        self._waiting: dict[socket.socket, float] = {}
        self._open_again = 0.0

    def register(self, selector: selectors.BaseSelector, knocked: Callable[[socket.socket], None]) -> None:
        """Has `knocked` called when somebody is there, from now on."""
        self._selector, self._knocked = selector, knocked
        selector.register(self.listener, selectors.EVENT_READ, knocked)

    def accept(self) -> socket.socket | None:
        """Returns the connection that comes in, if there still is one; without descriptors it pauses."""
        try:
            connection, _ = self.listener.accept()
        except OSError as error:
            if error.errno in FULL:
                self.trouble = error.strerror or str(error)
                self._open_again = time.monotonic() + PAUSE
                self._selector.unregister(self.listener)
            return None
        if len(self._known) >= self._most:
            self.trouble = f"{self._most} connections"
            connection.close()
            return None
        connection.setblocking(False)
        self._waiting[connection] = time.monotonic() + PATIENCE
        return connection

    def shown(self, connection: socket.socket) -> None:
        """Takes note that a connection has shown who it is."""
        if self._waiting.pop(connection, None) is not None:
            self._known.add(connection)

    def gone(self, connection: socket.socket) -> None:
        self._waiting.pop(connection, None)
        self._known.discard(connection)

    def overdue(self) -> list[socket.socket]:
        """Returns the connections that have waited for too long, or must make room; opens again after a pause."""
        now = time.monotonic()
        if self._open_again and now >= self._open_again:
            self._open_again = 0.0
            self._selector.register(self.listener, selectors.EVENT_READ, self._knocked)
        surplus = len(self._waiting) - self._most_waiting
        return [line for place, (line, until) in enumerate(self._waiting.items()) if place < surplus or now > until]


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return (pid, uid) of the process at the other end of a local socket, as the kernel knows them."""
    size = CREDENTIALS.size
    pid, uid, _ = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid


def is_own(connection: socket.socket) -> bool:
    """Tells whether the other end of a local socket is of this user, or root's."""
    _, uid = peer_of(connection)
    return uid in (0, os.geteuid())
