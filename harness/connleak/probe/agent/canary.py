"""The leak that is planted on purpose (`--canary`): a run that does not show it cannot be trusted with any other.

The connection is a new one beside the app's pools, opened as the app opens its own and kept in a transaction, so that
no slot of a pool is taken from the app.
"""

import asyncio
import sys
from functools import partial

from . import drivers
from .sessions import backend_of
from .state import Connection, opened, taken, watch_end

kept = []  # type: list


def plant(state):
    """Opens and keeps one connection; returns what was opened, an empty string when there is no way to."""
    for mark in list(state.pools.values()):
        pool = mark.ref()
        if pool is not None and mark.used:
            return keep_one(state, partial(pool._invoke_creator, None), getattr(pool, "_is_asyncio", False))
    if drivers.last is not None:
        function, args, kwargs = drivers.last
        return keep_one(state, partial(function, *args, **kwargs), False)
    return ""


def keep_one(state, connect, through_greenlets):
    raw = run(connect, through_greenlets)
    connection = Connection(backend_of(raw), 0, "direct")
    opened(state, id(raw), connection)
    watch_end(id(raw), connection, getattr(raw, "driver_connection", raw))
    taken(state, connection, sys._getframe(0))
    return type(raw).__name__


def run(connect, through_greenlets):
    """Returns the new connection with a transaction open in it; asyncio's get an event loop of their own."""
    if through_greenlets:
        from sqlalchemy.util import greenlet_spawn

        loop = asyncio.new_event_loop()
        raw = loop.run_until_complete(greenlet_spawn(opened_transaction, connect))
    else:
        raw = connect()
        loop = None
        if asyncio.iscoroutine(raw):
            loop = asyncio.new_event_loop()
            raw = loop.run_until_complete(raw)
            loop.run_until_complete(raw.execute("BEGIN"))
        else:
            begin(raw)
    kept.append((raw, loop))
    return raw


def opened_transaction(connect):
    raw = connect()
    begin(raw)
    return raw


def begin(raw):
    cursor = raw.cursor()
    cursor.execute("SELECT 1")
    cursor.fetchall()
    cursor.close()
