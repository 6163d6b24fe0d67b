"""The leak that is planted on purpose (`--canary`): a run that misses it cannot be trusted to find another.

The connection is a new one beside the app's pools, opened as the app opens its own and kept in a transaction, so that
the app loses no slot of a pool.
"""

import sys
from functools import partial

from . import driver_connects
from .sessions import backend_of
from .state import Connection, record_checkout, record_connect, watch_finalization

kept = []  # type: list


def command(state):
    """Plant the canary; the answer names the class of the connection."""
    return [{"final": True, "planted": plant(state)}]


def plant(state):
    """Open and keep one connection; return its class's name, or an empty string if there is no way to open one."""
    for mark in list(state.pools.values()):
        pool = mark.ref()
        if pool is not None and mark.used:
            return keep_one(state, partial(pool._invoke_creator, None), getattr(pool, "_is_asyncio", False))
    if driver_connects.latest_connect is not None:
        function, args, kwargs = driver_connects.latest_connect
        return keep_one(state, partial(function, *args, **kwargs), False)
    return ""


def keep_one(state, connect, through_greenlets):
    raw = open_transaction(connect, through_greenlets)
    connection = Connection(backend_of(raw), 0, "direct")
    record_connect(state, id(raw), connection)
    watch_finalization(id(raw), connection, getattr(raw, "driver_connection", raw))
    record_checkout(state, connection, sys._getframe(0))
    return type(raw).__name__


def open_transaction(connect, through_greenlets):
    """Return a new connection in a transaction; an async one gets an event loop of its own."""
    import asyncio  # not above: most apps that load the probe do not need it

    loop = None
    if through_greenlets:
        from sqlalchemy.util import greenlet_spawn

        loop = asyncio.new_event_loop()
        raw = loop.run_until_complete(greenlet_spawn(connect_and_begin, connect))
    else:
        raw = connect()
        if asyncio.iscoroutine(raw):
            loop = asyncio.new_event_loop()
            raw = loop.run_until_complete(raw)
            loop.run_until_complete(raw.execute("BEGIN"))
        else:
            begin(raw)
    kept.append((raw, loop))
    return raw


def connect_and_begin(connect):
    raw = connect()
    begin(raw)
    return raw


def begin(raw):
    cursor = raw.cursor()
    cursor.execute("SELECT 1")
    cursor.fetchall()
    cursor.close()
