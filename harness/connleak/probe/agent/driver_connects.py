"""Connections that an app opens itself, outside any pool: the driver's own `connect` is wrapped.

Calls by SQLAlchemy are left to its pool events, and calls by a driver's own pool to `driver_pools`. A connection that
is opened directly is checked out until it is closed.
"""

import functools
import sys

from . import driver_pools, sender, sessions
from .drivers import driver_of, is_pool_module
from .pool_sizes import driver_pool_sizes
from .sessions import backend_of
from .state import (
    Connection,
    current,
    emit,
    record_checkout,
    record_close,
    record_connect,
    this_process,
    watch_finalization,
)
from .transport import CANARY
from .wrapping import reporting

latest_connect = None
"""The latest direct connect: (function, args, kwargs); kept only for a canary."""


def watch_module(module):
    """Wrap the `connect` of psycopg2, pymysql or MySQLdb."""
    module.connect = reporting(module.connect, on_connect)


def watch_asyncpg(module):
    """Wrap asyncpg's connect, which its pool takes from the inner module, and the pool."""
    module.connect = module.connection.connect = reporting(module.connection.connect, on_connect)
    driver_pools.watch_asyncpg_pool(module.pool)


def watch_psycopg(module):
    """Wrap psycopg 3's connect: a class method of both connection classes, and the module's name for it."""
    for kind in (module.Connection, module.AsyncConnection):
        original = kind.__dict__["connect"].__func__ if "connect" in kind.__dict__ else None
        if original is not None:
            kind.connect = classmethod(reporting(original, on_connect))
    module.connect = module.Connection.connect


def watch_sqlite(module):
    """Wrap sqlite3's connect; connections get a subclass, because the class itself supports no weak references."""
    original = module.connect

    class Connection(module.Connection):
        """sqlite3's connection, with its close() reported."""

        def close(self):
            super().close()
            on_sqlite_close(self)

    Connection.__qualname__ = "Connection"
    Connection.__module__ = "sqlite3"

    @functools.wraps(original)
    def connect(*args, **kwargs):
        if len(args) < 6:
            kwargs.setdefault("factory", Connection)
        raw, handle = sessions.open_sqlite(original, args, kwargs, open_backends)
        if handle is not None and isinstance(raw, Connection):
            raw.connleak_handle = handle
        record_direct(raw, sys._getframe(1), "sqlite")
        return raw

    def open_backends():
        return {connection.backend for connection in list(current().connections.values())}

    module.connect = sys.modules["sqlite3.dbapi2"].connect = connect


def on_connect(call, raw, caller):
    global latest_connect
    if CANARY:
        latest_connect = call
    record_direct(raw, caller)


def record_direct(raw, frame, source="direct"):
    """Record a connection that was opened by a driver's connect(), checked out if it belongs to no pool."""
    try:
        module = frame.f_globals.get("__name__", "")
        package = module.partition(".")[0]
        if package == "sqlalchemy":
            return
        state = this_process()
        pooled = is_pool_module(module)
        pool = frame.f_locals.get("self") if pooled else None
        if driver_pool_sizes(pool) is not None:
            driver_pools.pooled_connection(state, raw, pool)
            return
        connection = Connection(backend_of(raw), 0, "driver's pool" if pooled else source)
        record_connect(state, id(raw), connection)
        watch_finalization(id(raw), connection, raw)
        if pooled:
            emit(state, "connect", backend=connection.backend)
        else:
            checkout = record_checkout(state, connection, frame)
            if package == "django":
                checkout.request = ""  # CONN_MAX_AGE keeps it for the thread's next request
            emit(state, "connect", backend=connection.backend, frames=checkout.frames)
        sender.start()
    except Exception:
        current().dropped += 1


def on_sqlite_close(raw):
    try:
        record_close(current(), id(raw))
    except Exception:
        current().dropped += 1


def record_closed(state):
    """Record the direct connections that have been closed: most drivers' close() cannot be wrapped."""
    for key, connection in list(state.connections.items()):
        if connection.source in ("direct", "driver's pool") and connection.ref is not None:
            raw = connection.ref()
            if raw is not None and is_closed(raw):
                record_close(state, key)


def is_closed(raw):
    driver = driver_of(raw)
    return driver is not None and driver.is_closed is not None and driver.is_closed(raw)
