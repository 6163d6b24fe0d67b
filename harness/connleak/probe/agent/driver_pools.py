"""The drivers' own pools: psycopg_pool, psycopg2.pool, asyncpg's.

Their connections are idle until getconn() or acquire(), and out until they are put back. A pool is marked with its
line when it is made, as SQLAlchemy's are, but for asyncpg's; what it may keep and counts as out is read when asked.
"""

import functools

from . import transport as wire
from .sessions import backend_of
from .sqlalchemy_pools import mark_of, wrap_new
from .state import Connection, current, emit, given_back, opened, taken, watch_end


def watch_psycopg2_pool(module):
    """Wraps getconn and putconn of psycopg2's pools."""
    from .drivers import telling

    wrap_new(module.AbstractConnectionPool)
    for kind in (module.SimpleConnectionPool, module.ThreadedConnectionPool):
        kind.getconn = telling(kind.getconn, got)
        kind.putconn = putting(kind.putconn)


def watch_psycopg_pool(module):
    """Wraps getconn and putconn of psycopg_pool: `pool.connection()` goes through them, too."""
    from .drivers import telling

    names = ("ConnectionPool", "AsyncConnectionPool", "NullConnectionPool", "AsyncNullConnectionPool")
    for kind in [getattr(module, name) for name in names if hasattr(module, name)]:  # not all of them in 3.0
        wrap_new(kind)
        if "getconn" in kind.__dict__:
            kind.getconn = telling(kind.getconn, got)
        if "putconn" in kind.__dict__:
            kind.putconn = putting(kind.putconn)


def watch_asyncpg_pool(module):
    """Wraps the two ends of a taking, and the opening: a pool opens its later connections past connect()."""
    from .drivers import telling

    module.Pool._acquire = telling(module.Pool._acquire, got)
    module.Pool.release = putting(module.Pool.release)
    original = module.PoolConnectionHolder.connect

    @functools.wraps(original)
    async def connect(self, *args, **kwargs):
        result = await original(self, *args, **kwargs)
        try:
            known(current(), self._con, self._pool)
        except Exception:
            current().dropped += 1
        return result

    module.PoolConnectionHolder.connect = connect


def known(state, raw, pool):
    """Returns the connection as it is known, entered as one of this pool when it is new."""
    raw = getattr(raw, "_con", raw)  # asyncpg's pool gives a proxy
    try:
        mark = mark_of(state, pool)
    except TypeError:  # asyncpg's cannot be referenced weakly, and a reference of ours must not keep it alive
        mark = None
    number = mark.number if mark else 0
    connection = state.connections.get(id(raw))
    if connection is None:
        connection = Connection(backend_of(raw), 0, "driver's pool")
        opened(state, id(raw), connection)
        watch_end(id(raw), connection, raw)
        emit(state, "connect", backend=connection.backend, pool=number)
        wire.arm()
    connection.pool = number
    if mark and not mark.used:
        mark.used = True
        emit(state, "pool", pool=mark.number, frames=mark.frames)
    return connection


def got(pool, raw, frame):
    try:
        state = current()
        if taken(state, known(state, raw, pool), frame).at > wire.line.due:
            wire.tick()
    except Exception:
        current().dropped += 1


def putting(original):
    """Returns putconn, sync or async, with the connection entered as given back before it is."""

    @functools.wraps(original)
    def putconn(self, conn, *args, **kwargs):
        put(conn)
        return original(self, conn, *args, **kwargs)

    return putconn


def put(raw):
    try:
        state = current()
        connection = state.connections.get(id(getattr(raw, "_con", raw)))
        if connection is not None and connection.checkout is not None:
            at = given_back(state, connection)
            if at > wire.line.due:
                wire.tick()
    except Exception:
        current().dropped += 1


def figures(pool):
    """Returns (may keep, beyond that, counted as out) of a driver's pool; None for what is none, or tells nothing."""
    if hasattr(pool, "get_stats"):  # psycopg_pool
        stats = pool.get_stats()
        return pool.max_size, 0, stats.get("pool_size", 0) - stats.get("pool_available", 0)
    if hasattr(pool, "_used"):  # psycopg2.pool
        return pool.minconn, pool.maxconn - pool.minconn, len(pool._used)
    return None
