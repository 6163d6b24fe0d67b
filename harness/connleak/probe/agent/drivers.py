"""Connections that an app opens itself, past any pool: the driver's own connect is wrapped."""

import functools
import sys

from . import wire
from .pools import backend_of
from .table import Connection, closed, current, emit, opened, taken, watch_end


def watch_psycopg2(module):
    """Wraps psycopg2.connect; SQLAlchemy's own calls of it are left to its pool events."""
    original = module.connect

    @functools.wraps(original)
    def connect(*args, **kwargs):
        connection = original(*args, **kwargs)
        try:
            caller = sys._getframe(1)
            if not caller.f_globals.get("__name__", "").startswith("sqlalchemy."):
                entered(connection, caller)
        except Exception:
            current().dropped += 1
        return connection

    module.connect = connect


def entered(raw, frame):
    """Enters a connection that was opened by hand: it is out from now until it is closed."""
    state = current()
    connection = Connection(backend_of(raw), 0, "direct")
    opened(state, id(raw), connection)
    watch_end(id(raw), connection, raw)
    taken(state, connection, frame)
    emit(state, "connect", backend=connection.backend, frames=connection.checkout.frames)
    wire.arm()


def sweep(state):
    """Ends direct connections that the app has closed: a driver's close() cannot be overridden from outside."""
    for key, connection in list(state.connections.items()):
        if connection.source == "direct" and connection.ref is not None:
            raw = connection.ref()
            if raw is not None and getattr(raw, "closed", 0):
                closed(state, key)
