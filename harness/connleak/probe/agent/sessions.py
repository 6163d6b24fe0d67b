"""The server's number of a connection: PostgreSQL's pid, MySQL's thread id, a client port or a file handle.

The run's environment selects the last two: behind PgBouncer the driver's pid is not the server's, so the client port
identifies the session; a SQLite session is a file descriptor, which sqlite3 does not expose.
"""

import _socket
import _thread
import os

from .drivers import SESSION_NUMBERS

SQLITE = os.environ.get("CONNLEAK_SQLITE", "")
"""The watched database file."""
BY_PORT = os.environ.get("CONNLEAK_BACKEND") == "port"
HANDLES = 10000
"""A handle's number is the process's pid times this, plus its descriptor; the sampler counts the same way."""

# bound before gevent or eventlet replace it
opening = _thread.allocate_lock()
"""Held while a SQLite file is opened, so that the new descriptor belongs to this connection."""


def backend_of(connection):
    """Return the session's number as the sampler sees it, None if it is unknown."""
    raw = getattr(connection, "driver_connection", None)  # SQLAlchemy's async adapters; before 1.4.24 `_connection`
    if raw is None:
        raw = getattr(connection, "_connection", connection)
    handle = getattr(raw, "connleak_handle", None)
    if handle is not None:
        return handle
    if BY_PORT:
        return port_of(raw)
    for number_of in SESSION_NUMBERS:  # by attribute, not by class: instrumentation may wrap a driver's connection
        try:
            return number_of(raw)
        except AttributeError:
            pass
    return None


def port_of(raw):
    """Return the local port of a driver's socket."""
    if hasattr(raw, "fileno"):
        copy = _socket.socket(fileno=os.dup(raw.fileno()))
        try:
            return copy.getsockname()[1]
        finally:
            copy.close()
    transport = getattr(raw, "_transport", None)  # asyncpg's
    name = transport.get_extra_info("sockname") if transport is not None else None
    return name[1] if name else None


def descriptors():
    """Return this process's descriptors of the watched file."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + name) == SQLITE:
                found.add(int(name))
        except OSError:
            pass
    return found


def open_sqlite(original, args, kwargs, open_backends):
    """Return (connection, its handle's number); the number is None for a file other than the watched one.

    `open_backends` returns the numbers of the open connections: the new connection may reuse the descriptor of one that
    another thread has closed meanwhile.
    """
    if not SQLITE:
        return original(*args, **kwargs), None
    with opening:
        before = descriptors()
        raw = original(*args, **kwargs)
        after = descriptors()
    base = os.getpid() * HANDLES
    new = after - before or {number for number in after if base + number not in open_backends()}
    return raw, (base + max(new) if new else None)
