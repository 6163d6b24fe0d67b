"""The drivers' own pools: psycopg_pool, psycopg2.pool and asyncpg's.

Their connections are idle until getconn() or acquire(), and checked out until they are put back. A pool is marked with
its line when it is made, as SQLAlchemy's are, except asyncpg's.
"""

import functools

from . import sender, transport
from .pool_marks import mark_of, wrap_new
from .sessions import backend_of
from .state import (
    Connection,
    current,
    emit,
    record_checkin,
    record_checkout,
    record_connect,
    watch_finalization,
)
from .wrapping import reporting


def watch_psycopg2_pool(module):
    """Wrap getconn and putconn of psycopg2's pools."""
    wrap_new(module.AbstractConnectionPool)
    for kind in (module.SimpleConnectionPool, module.ThreadedConnectionPool):
        kind.getconn = reporting(kind.getconn, on_getconn)
        kind.putconn = wrap_putconn(kind.putconn)


def watch_psycopg_pool(module):
    """Wrap getconn and putconn of psycopg_pool; `pool.connection()` goes through them too."""
    names = ("ConnectionPool", "AsyncConnectionPool", "NullConnectionPool", "AsyncNullConnectionPool")
    for kind in [getattr(module, name) for name in names if hasattr(module, name)]:  # 3.0 lacks some
        wrap_new(kind)
        if "getconn" in kind.__dict__:
            kind.getconn = reporting(kind.getconn, on_getconn)
        if "putconn" in kind.__dict__:
            kind.putconn = wrap_putconn(kind.putconn)


def watch_asyncpg_pool(module):
    """Wrap asyncpg's acquire and release, and the opening: its pool does not open later connections by connect()."""
    module.Pool._acquire = reporting(module.Pool._acquire, on_getconn)
    module.Pool.release = wrap_putconn(module.Pool.release)
    original = module.PoolConnectionHolder.connect

    @functools.wraps(original)
    async def connect(self, *args, **kwargs):
        result = await original(self, *args, **kwargs)
        try:
            pooled_connection(current(), self._con, self._pool)
        except Exception:
            current().dropped += 1
        return result

    module.PoolConnectionHolder.connect = connect


def pooled_connection(state, raw, pool):
    """Return the record of a pool's connection; a new connection gets one."""
    raw = getattr(raw, "_con", raw)  # asyncpg's pool lends a proxy
    try:
        mark = mark_of(state, pool)
    except TypeError:  # asyncpg's pool supports no weak references, and the probe must not keep it alive
        mark = None
    number = mark.number if mark else 0
    connection = state.connections.get(id(raw))
    if connection is None:
        connection = Connection(backend_of(raw), 0, "driver's pool")
        record_connect(state, id(raw), connection)
        watch_finalization(id(raw), connection, raw)
        emit(state, "connect", backend=connection.backend, pool=number)
        sender.start()
    connection.pool = number
    if mark and not mark.used:
        mark.used = True
        emit(state, "pool", pool=mark.number, frames=mark.frames)
    return connection


def on_getconn(call, raw, caller):
    try:
        state = current()
        _, args, _ = call
        if record_checkout(state, pooled_connection(state, raw, args[0]), caller).at > transport.active.due:
            sender.flush_overdue()
    except Exception:
        current().dropped += 1


def wrap_putconn(original):
    """Return putconn, sync or async, wrapped so that the checkin is recorded before it happens."""

    @functools.wraps(original)
    def putconn(self, conn, *args, **kwargs):
        on_putconn(conn)
        return original(self, conn, *args, **kwargs)

    return putconn


def on_putconn(raw):
    try:
        state = current()
        connection = state.connections.get(id(getattr(raw, "_con", raw)))
        if (
            connection is not None
            and connection.checkout is not None
            and record_checkin(state, connection) > transport.active.due
        ):
            sender.flush_overdue()
    except Exception:
        current().dropped += 1
