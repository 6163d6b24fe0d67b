"""What number the server knows a connection by: Postgres's pid, MySQL's thread id, a pooler's client port, a handle.

The last two are asked for by the run: behind PgBouncer the pid that the driver tells is made up, so the port must do,
and a SQLite session is a file descriptor, which sqlite3 does not tell.
"""

import _socket
import _thread
import os

SQLITE = os.environ.get("CONNLEAK_SQLITE", "")
"""The watched database file."""
BY_PORT = os.environ.get("CONNLEAK_BACKEND") == "port"
HANDLES = 10000
"""A handle's number is the process's pid times this, plus its descriptor; the sampler counts the same way."""

# kept from before gevent or eventlet replace it
opening = _thread.allocate_lock()
"""Held while a SQLite file is opened, so that the new descriptor is this connection's."""


def backend_of(connection):
    """Returns the session's number as the sampler will see it, None when it cannot be known."""
    raw = getattr(connection, "driver_connection", None)  # SQLAlchemy's async adapters; before 1.4.24 `_connection`
    if raw is None:
        raw = getattr(connection, "_connection", connection)
    handle = getattr(raw, "connleak_handle", None)
    if handle is not None:
        return handle
    if BY_PORT:
        return port_of(raw)
    for name in ("get_backend_pid", "get_server_pid", "thread_id"):
        method = getattr(raw, name, None)
        if method is not None:
            return method()
    return getattr(getattr(raw, "info", None), "backend_pid", None)


def port_of(raw):
    """Returns the local port of a driver's socket."""
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
    """Returns this process's descriptors of the watched file."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + name) == SQLITE:
                found.add(int(name))
        except OSError:
            pass
    return found


def open_sqlite(original, args, kwargs, known):
    """Returns (connection, its handle's number); None for another file than the watched one, or one in memory.

    `known` are the numbers of the connections that are open: one closed by another thread meanwhile may leave its
    descriptor to ours.
    """
    if not SQLITE:
        return original(*args, **kwargs), None
    with opening:
        before = descriptors()
        raw = original(*args, **kwargs)
        after = descriptors()
    base = os.getpid() * HANDLES
    new = after - before or {number for number in after if base + number not in known()}
    return raw, (base + max(new) if new else None)
