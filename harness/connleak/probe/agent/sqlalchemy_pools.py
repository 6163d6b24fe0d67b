"""SQLAlchemy's pools (1.4, 2.0, 2.1): listeners for the public pool events, and two wrapped methods.

The methods are wrapped because no event covers them: `Pool.__new__` for the line that made a pool, `QueuePool._do_get`
for callers that wait. Listeners swallow their own errors, so that the app never sees one.
"""

import sys
from itertools import count

from . import sender, state, transport
from .owners import get_ident, this_task
from .pool_marks import mark_of, wrap_new
from .sessions import backend_of
from .stacks import capture
from .state import (
    Connection,
    current,
    emit,
    monotonic,
    record_checkin,
    record_checkout,
    record_close,
    record_connect,
    this_process,
    watch_finalization,
)

_waiters = count(1)


def watch(module):
    """Listen on every pool of the process, existing and future."""
    from sqlalchemy import event
    from sqlalchemy import pool as pools

    Pool = pools.Pool
    for name, listener in (
        ("connect", on_connect),
        ("checkout", on_checkout),
        ("checkin", on_checkin),
        ("close", on_close),
        ("close_detached", on_close_detached),
        ("detach", on_detach),
        ("invalidate", on_invalidate),
    ):
        event.listen(Pool, name, listener)
    wrap_new(Pool)
    wrap_get(pools.QueuePool)


def guard(function):
    """Return the listener with its errors swallowed; a `try` costs nothing unless it catches."""

    def listener(*args):
        try:
            function(*args)
        except Exception:
            current().dropped += 1  # the event is missing from the recording

    return listener


@guard
def on_connect(dbapi_connection, record):
    state = this_process()
    pool = getattr(record, "_ConnectionRecord__pool", None)
    mark = mark_of(state, pool)
    number = mark.number if mark else 0
    connection = Connection(backend_of(dbapi_connection), number, "pool")
    raw = getattr(dbapi_connection, "driver_connection", dbapi_connection)
    record_connect(state, id(dbapi_connection), connection)
    watch_finalization(id(dbapi_connection), connection, raw)
    if mark and not mark.used:
        mark.used = True
        emit(state, "pool", pool=number, frames=mark.frames)
    emit(
        state,
        "connect",
        backend=connection.backend,
        pool=number,
        frames=capture(sys._getframe(1)),
        overflow=getattr(pool, "_overflow", 0) > 0,
    )
    sender.start()


def on_checkout(dbapi_connection, record, fairy):  # the hot path: no guard around it, which would cost a call
    try:
        state = current()
        connection = state.connections.get(id(dbapi_connection))
        if connection is None:
            connection = Connection(backend_of(dbapi_connection), 0, "pool")
            record_connect(state, id(dbapi_connection), connection)
        # frame 3 lies above the event's dispatch and the pool's _checkout
        if record_checkout(state, connection, sys._getframe(3)).at > transport.active.due:
            sender.flush_overdue()
    except Exception:
        current().dropped += 1


def on_checkin(dbapi_connection, record):
    try:
        if dbapi_connection is not None:  # None: it was invalidated, and recorded as closed
            now = state.active  # its checkout was made in this process: no os.getpid() here
            connection = now.connections.get(id(dbapi_connection))
            if (
                connection is not None
                and connection.checkout is not None
                and record_checkin(now, connection) > transport.active.due
            ):
                sender.flush_overdue()
    except Exception:
        current().dropped += 1


@guard
def on_close(dbapi_connection, record):
    record_close(current(), id(dbapi_connection), sys._getframe(1))


@guard
def on_close_detached(dbapi_connection):
    record_close(current(), id(dbapi_connection), sys._getframe(1))


@guard
def on_detach(dbapi_connection, record):
    connection = current().connections.get(id(dbapi_connection))
    if connection is not None:
        connection.pool = 0
        connection.source = "detached"


@guard
def on_invalidate(dbapi_connection, record, exception):
    connection = current().connections.get(id(dbapi_connection))
    if connection is not None:
        emit(current(), "invalidate", backend=connection.backend, detail=type(exception).__name__)


def wrap_get(QueuePool):
    """Record callers that wait for a connection, and time out; a pool with free slots costs one comparison."""
    original = QueuePool._do_get

    def _do_get(self):
        if not -1 < self._max_overflow <= self._overflow:
            return original(self)
        waiter = next(_waiters)
        began = monotonic()
        outcome = "wait"
        current().waiting[waiter] = began
        try:
            return original(self)
        except BaseException as error:
            outcome = "timeout" if type(error).__name__ == "TimeoutError" else "wait"
            raise
        finally:
            on_wait_end(self, waiter, began, outcome)

    _do_get.__wrapped__ = original
    QueuePool._do_get = _do_get


def on_wait_end(pool, waiter, began, outcome):
    """Report a wait; at the first timeout, with a snapshot of the holder table."""
    try:
        state = current()
        state.waiting.pop(waiter, None)
        seconds = monotonic() - began
        if outcome == "timeout" or seconds > 0.001:
            mark = mark_of(state, pool)
            frames = capture(sys._getframe(2))
            emit(
                state,
                outcome,
                pool=mark.number,
                seconds=seconds,
                nested=holds_one_of(state, mark.number, frames),
                frames=frames,
            )
        if outcome == "timeout":
            reason = "QueuePool limit of size %d overflow %d reached" % (pool.size(), pool._max_overflow)
            sender.snapshot_at_first_exhaustion(state, reason)
    except Exception:
        pass


def holds_one_of(state, pool, frames):
    """Return whether the calling thread, greenlet or task has a checkout from that pool, made at another line.

    A checkout made at this line belongs to an earlier call: a thread of a thread pool may serve the next request while
    the last one's dependency waits for its end.
    """
    me, task = get_ident(), this_task()
    for checkout in list(state.checkouts.values()):
        if checkout.connection.pool == pool and checkout.frames[:2] != frames[:2]:
            if task is not None:
                if checkout.task is not None and checkout.task() is task:
                    return True
            elif checkout.task is None and checkout.thread.ident == me:
                return True
    return False
