"""Statements as SQLAlchemy runs them: who uses a checkout besides the one that took it. Only with `--probe queries`.

It costs some microseconds a statement. What an app sends past SQLAlchemy, by a driver's own connection, is not seen.
"""

import sys

from . import stacks as frames
from . import transport as wire
from .state import current, used_at_once, used_elsewhere
from .workers import get_ident, this_task


class Use:
    """Who uses a connection: `busy` runs a statement now, `last` ran one last, `before` are those before that."""

    __slots__ = ("before", "busy", "last")

    def __init__(self):
        self.busy = None
        self.last = None
        self.before = set()


def watch(module):
    """Listens on every engine of the process."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    event.listen(Engine, "handle_error", failed)


def worker():
    """Returns the key of the thread, greenlet or task that runs now."""
    task = this_task()
    return get_ident() if task is None else id(task)


def key_of(connection):
    fairy = connection.connection
    raw = getattr(fairy, "dbapi_connection", None)
    return id(fairy.connection if raw is None else raw)


def before(connection, cursor, statement, parameters, context, executemany):
    try:
        state = current()
        known = state.connections.get(key_of(connection))
        if known is None:
            return
        if known.process != state.pid and known.checkout is None:
            used_elsewhere(state, known, "used", frames.capture(sys._getframe(1)))
            return
        checkout = known.checkout
        if checkout is None:
            return
        use = getattr(checkout, "use", None)
        if use is None:
            use = checkout.use = Use()
        me = worker()
        if use.busy not in (None, me):
            tell(state, known, "while another ran a statement", sys._getframe(1))
        elif use.last not in (None, me):
            if me in use.before:
                tell(state, known, "in turns with another", sys._getframe(1))
            use.before.add(use.last)
        use.busy = use.last = me
    except Exception:
        current().dropped += 1


def tell(state, known, how, frame):
    used_at_once(state, known, "used", how, frames.capture(frame))
    wire.arm()


def after(connection, cursor, statement, parameters, context, executemany):
    idle(connection)


def failed(context):
    if context.connection is not None:
        idle(context.connection)


def idle(connection):
    try:
        known = current().connections.get(key_of(connection))
        use = getattr(known and known.checkout, "use", None)
        if use is not None:
            use.busy = None
    except Exception:
        pass
