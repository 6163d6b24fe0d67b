"""A listening socket that limits connections: few may wait to authenticate, none for long."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable

AUTHENTICATION_TIMEOUT = 10.0
"""Seconds in which a connection must authenticate."""
MAX_WAITING = 64
"""TCP connections that may wait to authenticate at once; the oldest is closed for a newer one."""
MAX_LOCAL, MAX_LOCAL_WAITING = 4096, 1024
"""Connections from this machine's processes, and those of them that may wait: an app may fork many at once."""
PAUSE = 0.5
"""Seconds without accepting when no descriptors are left."""
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """A listening socket, and the connections that it has accepted."""

    def __init__(
        self, listening: socket.socket, max_authenticated: int = MAX_LOCAL, max_waiting: int = MAX_LOCAL_WAITING
    ) -> None:
        listening.setblocking(False)
        self.socket = listening
        self.trouble = ""
        """Why a connection could not be accepted, the last time."""
        self._max_authenticated = max_authenticated
        self._max_waiting = max_waiting
        self._authenticated: set[socket.socket] = set()
        self._waiting: dict[socket.socket, float] = {}
        self._resume_at = 0.0

    def register(self, selector: selectors.BaseSelector, on_connection: Callable[[socket.socket], None]) -> None:
        """Have `on_connection` called when a connection is there to accept."""
        self._selector, self._on_connection = selector, on_connection
        selector.register(self.socket, selectors.EVENT_READ, on_connection)

    def accept(self) -> socket.socket | None:
        """Return the incoming connection if it is still there; pause if no descriptors are left."""
        try:
            connection, _ = self.socket.accept()
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:
                self.trouble = error.strerror or str(error)
                self._resume_at = time.monotonic() + PAUSE
                self._selector.unregister(self.socket)
            return None
        if len(self._authenticated) >= self._max_authenticated:
            self.trouble = f"{self._max_authenticated} connections"
            connection.close()
            return None
        connection.setblocking(False)
        self._waiting[connection] = time.monotonic() + AUTHENTICATION_TIMEOUT
        return connection

    def set_authenticated(self, connection: socket.socket) -> None:
        """Count a connection as authenticated from now on."""
        if self._waiting.pop(connection, None) is not None:
            self._authenticated.add(connection)

    def forget(self, connection: socket.socket) -> None:
        """Stop counting a connection."""
        self._waiting.pop(connection, None)
        self._authenticated.discard(connection)

    def overdue(self) -> list[socket.socket]:
        """Return the connections to close, which waited too long or are too many; end a pause whose time is over."""
        now = time.monotonic()
        if self._resume_at and now >= self._resume_at:
            self._resume_at = 0.0
            self._selector.register(self.socket, selectors.EVENT_READ, self._on_connection)
        surplus = len(self._waiting) - self._max_waiting
        waiting = enumerate(self._waiting.items())
        return [connection for place, (connection, until) in waiting if place < surplus or now > until]
