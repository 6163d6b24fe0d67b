"""Connections that an app opens itself, past SQLAlchemy's pool: the driver's own connect is wrapped.

SQLAlchemy's calls of it are left to its pool events; psycopg_pool's connections are idle until getconn().
"""

import functools
import inspect
import sys

from . import wire
from .pools import backend_of
from .table import Connection, closed, current, emit, given_back, opened, taken, watch_end


def watch_module(module):
    """Wraps the `connect` of psycopg2, pymysql or asyncpg."""
    module.connect = telling(module.connect, entered)


def watch_psycopg(module):
    """Wraps psycopg 3's connect: a class method of both connection classes, and the module's own name for it."""
    for kind in (module.Connection, module.AsyncConnection):
        original = kind.__dict__["connect"].__func__ if "connect" in kind.__dict__ else None
        if original is not None:
            kind.connect = classmethod(telling(original, entered))
    module.connect = module.Connection.connect


def telling(original, listener):
    """Returns the function with its result told to the listener under the caller's line; sync or async."""
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def function(*args, **kwargs):
            caller = sys._getframe(1)
            connection = await original(*args, **kwargs)
            listener(connection, caller)
            return connection

    else:

        @functools.wraps(original)
        def function(*args, **kwargs):
            connection = original(*args, **kwargs)
            if inspect.isawaitable(connection):
                return awaited(connection, listener, sys._getframe(1))
            listener(connection, sys._getframe(1))
            return connection

    return function


async def awaited(coming, listener, caller):
    connection = await coming
    listener(connection, caller)
    return connection


def entered(raw, frame):
    """Enters a connection that was opened by hand: it is out from now until it is closed."""
    try:
        owner = frame.f_globals.get("__name__", "").partition(".")[0]
        if owner == "sqlalchemy":
            return
        state = current()
        connection = Connection(backend_of(raw), 0, "psycopg_pool" if owner == "psycopg_pool" else "direct")
        opened(state, id(raw), connection)
        watch_end(id(raw), connection, raw)
        if connection.source == "direct":
            taken(state, connection, frame)
            emit(state, "connect", backend=connection.backend, frames=connection.checkout.frames)
        else:
            emit(state, "connect", backend=connection.backend)
        wire.arm()
    except Exception:
        current().dropped += 1


def watch_psycopg_pool(module):
    """Wraps getconn and putconn of psycopg_pool: `pool.connection()` goes through them, too."""
    for kind in (module.ConnectionPool, module.NullConnectionPool, module.AsyncConnectionPool):
        if "getconn" in kind.__dict__:
            kind.getconn = telling(kind.getconn, got)
        if "putconn" in kind.__dict__:
            kind.putconn = putting(kind.putconn)


def putting(original):
    """Returns putconn, sync or async, with the connection entered as given back before it is."""

    @functools.wraps(original)
    def putconn(self, conn, *args, **kwargs):
        put(conn)
        return original(self, conn, *args, **kwargs)

    return putconn


def got(raw, frame):
    try:
        state = current()
        connection = state.connections.get(id(raw))
        if connection is not None:
            taken(state, connection, frame)
            wire.tick()
    except Exception:
        current().dropped += 1


def put(raw):
    try:
        state = current()
        connection = state.connections.get(id(raw))
        if connection is not None:
            given_back(state, connection)
            wire.tick()
    except Exception:
        current().dropped += 1


def sweep(state):
    """Ends direct connections that the app has closed: a driver's close() cannot be overridden from outside."""
    for key, connection in list(state.connections.items()):
        if connection.source in ("direct", "psycopg_pool") and connection.ref is not None:
            raw = connection.ref()
            if raw is not None and is_closed(raw):
                closed(state, key)


def is_closed(raw):
    """Tells whether a driver's connection is closed: psycopg's `closed`, asyncpg's `is_closed()`, pymysql's `open`."""
    if hasattr(raw, "is_closed"):
        return raw.is_closed()
    if hasattr(raw, "closed"):
        return bool(raw.closed)
    return not getattr(raw, "open", True)
