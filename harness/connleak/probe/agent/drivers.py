"""Connections that an app opens itself, past SQLAlchemy's pool: the driver's own connect is wrapped.

SQLAlchemy's calls of it are left to its pool events. The drivers' own pools (psycopg_pool, psycopg2.pool, asyncpg's)
keep connections idle: theirs are out from getconn() or acquire() on until they are put back. Here, too, is seen when
the server refuses a connection, whoever asked for it.
"""

import functools
import inspect
import sys

from . import driver_pools, sessions
from . import transport as wire
from .sessions import backend_of
from .state import Connection, closed, current, emit, here, opened, taken, watch_end

REFUSALS = (
    "too many clients already",
    "remaining connection slots are reserved",
    "Too many connections",
    "too many connections for",
)
"""What PostgreSQL and MySQL say at their limit; psycopg2 gives no SQLSTATE at connect, so the words must do."""

last = None
"""The latest way in which a connection was opened by hand: (function, args, kwargs); kept only for a canary."""


POOLS = ("psycopg_pool", "psycopg2.pool", "asyncpg.pool")
"""The modules whose calls of connect() fill a pool of the driver's own."""


def watch_module(module):
    """Wraps the `connect` of psycopg2, pymysql or MySQLdb."""
    module.connect = telling(module.connect, entered)


def watch_asyncpg(module):
    """Wraps asyncpg's connect, which its pool takes from the module below."""
    module.connect = module.connection.connect = telling(module.connection.connect, entered)
    driver_pools.watch_asyncpg_pool(module.pool)


def watch_psycopg(module):
    """Wraps psycopg 3's connect: a class method of both connection classes, and the module's own name for it."""
    for kind in (module.Connection, module.AsyncConnection):
        original = kind.__dict__["connect"].__func__ if "connect" in kind.__dict__ else None
        if original is not None:
            kind.connect = classmethod(telling(original, entered))
    module.connect = module.Connection.connect


def watch_sqlite(module):
    """Wraps sqlite3's connect; its connections get a subclass, for the class itself cannot be referenced weakly."""
    original = module.connect

    class Connection(module.Connection):
        """As sqlite3's own; close() is told, and the end of it."""

        def close(self):
            super().close()
            hand_closed(self)

    Connection.__qualname__ = "Connection"
    Connection.__module__ = "sqlite3"

    @functools.wraps(original)
    def connect(*args, **kwargs):
        if len(args) < 6:
            kwargs.setdefault("factory", Connection)
        raw, handle = sessions.open_sqlite(original, args, kwargs, known)
        if handle is not None and isinstance(raw, Connection):
            raw.connleak_handle = handle
        entered(raw, sys._getframe(1), "sqlite")
        return raw

    def known():
        return {connection.backend for connection in list(current().connections.values())}

    module.connect = sys.modules["sqlite3.dbapi2"].connect = connect


def telling(original, listener):
    """Returns the function with its result told to the listener under the caller's line; sync or async."""
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def function(*args, **kwargs):
            caller = sys._getframe(1)
            try:
                connection = await original(*args, **kwargs)
            except Exception as error:
                refused(error)
                raise
            told(listener, connection, caller, original, args, kwargs)
            return connection

    else:

        @functools.wraps(original)
        def function(*args, **kwargs):
            try:
                connection = original(*args, **kwargs)
            except Exception as error:
                refused(error)
                raise
            if inspect.isawaitable(connection):
                return awaited(connection, listener, sys._getframe(1), original, args, kwargs)
            told(listener, connection, sys._getframe(1), original, args, kwargs)
            return connection

    return function


async def awaited(coming, listener, caller, *call):
    try:
        connection = await coming
    except Exception as error:
        refused(error)
        raise
    told(listener, connection, caller, *call)
    return connection


def told(listener, connection, caller, *call):
    global last
    if listener is entered:
        if wire.CANARY:
            last = call
        listener(connection, caller)
    else:  # a method of the driver's pool, whose first argument is the pool
        listener(call[1][0], connection, caller)


def refused(error):
    """Freezes the holder table when it is the server that has no room."""
    try:
        words = str(error)
        for refusal in REFUSALS:
            if refusal in words:
                state = current()
                emit(state, "refused", detail=refusal)
                wire.freeze(state, "the server: " + refusal)
                return
    except Exception:
        pass


def entered(raw, frame, source="direct"):
    """Enters a connection that was opened by hand: it is out from now until it is closed."""
    try:
        module = frame.f_globals.get("__name__", "")
        owner = module.partition(".")[0]
        if owner == "sqlalchemy":
            return
        state = here()
        pooled = owner in POOLS or module in POOLS
        pool = frame.f_locals.get("self") if pooled else None
        if driver_pools.figures(pool) is not None:
            driver_pools.known(state, raw, pool)
            return
        connection = Connection(backend_of(raw), 0, "driver's pool" if pooled else source)
        opened(state, id(raw), connection)
        watch_end(id(raw), connection, raw)
        if pooled:
            emit(state, "connect", backend=connection.backend)
        else:
            checkout = taken(state, connection, frame)
            if owner == "django":
                checkout.request = ""  # kept for the thread's next request, as CONN_MAX_AGE says
            emit(state, "connect", backend=connection.backend, frames=checkout.frames)
        wire.arm()
    except Exception:
        current().dropped += 1


def hand_closed(raw):
    try:
        closed(current(), id(raw))
    except Exception:
        current().dropped += 1


def sweep(state):
    """Ends direct connections that the app has closed: a driver's close() cannot be overridden from outside."""
    for key, connection in list(state.connections.items()):
        if connection.source in ("direct", "driver's pool") and connection.ref is not None:
            raw = connection.ref()
            if raw is not None and is_closed(raw):
                closed(state, key)


def is_closed(raw):
    """Tells whether a driver's connection is closed: psycopg's `closed`, asyncpg's `is_closed()`, pymysql's `open`."""
    if type(raw).__module__.partition(".")[0] == "MySQLdb":
        try:
            raw.thread_id()
        except Exception:
            return True
        return False
    if hasattr(raw, "is_closed"):
        return raw.is_closed()
    if hasattr(raw, "closed"):
        return bool(raw.closed)
    return not getattr(raw, "open", True)
