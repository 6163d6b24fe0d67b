"""SQLAlchemy's statements: detects a checkout that several threads or tasks use. Only with `--probe queries`.

It costs some microseconds per statement. Statements on a driver's own connection, without SQLAlchemy, are not seen.
"""

import sys

from . import sender
from .owners import get_ident, this_task
from .stacks import capture
from .state import current, report_concurrent_use, report_other_process


class Use:
    """The users of a checkout: `busy` runs a statement now, `last` ran the latest one, `before` the earlier ones."""

    __slots__ = ("before", "busy", "last")

    def __init__(self):
        self.busy = None
        self.last = None
        self.before = set()


def watch(module):
    """Listen on every engine of the process."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    event.listen(Engine, "handle_error", failed)


def owner_key():
    """Return the key of the thread, greenlet or task that runs now."""
    task = this_task()
    return get_ident() if task is None else id(task)


def key_of(connection):
    """Return the key under which the state has SQLAlchemy's connection."""
    fairy = connection.connection
    raw = getattr(fairy, "dbapi_connection", None)
    return id(fairy.connection if raw is None else raw)


def before(connection, cursor, statement, parameters, context, executemany):
    try:
        state = current()
        record = state.connections.get(key_of(connection))
        if record is None:
            return
        if record.process != state.pid and record.checkout is None:
            report_other_process(state, record, "used", capture(sys._getframe(1)))
            return
        checkout = record.checkout
        if checkout is None:
            return
        use = getattr(checkout, "use", None)
        if use is None:
            use = checkout.use = Use()
        me = owner_key()
        if use.busy not in (None, me):
            report(state, record, "while another ran a statement", sys._getframe(1))
        elif use.last not in (None, me):
            if me in use.before:
                report(state, record, "in turns with another", sys._getframe(1))
            use.before.add(use.last)
        use.busy = use.last = me
    except Exception:
        current().dropped += 1


def report(state, record, how, frame):
    report_concurrent_use(state, record, "used", how, capture(frame))
    sender.start()


def after(connection, cursor, statement, parameters, context, executemany):
    idle(connection)


def failed(context):
    if context.connection is not None:
        idle(context.connection)


def idle(connection):
    """End the statement that runs on the connection."""
    try:
        record = current().connections.get(key_of(connection))
        use = getattr(record and record.checkout, "use", None)
        if use is not None:
            use.busy = None
    except Exception:
        pass
