"""SQLAlchemy's pools (1.4, 2.0, 2.1): its public pool events on the class, and two wrapped methods.

The wraps are there since no event tells it: `Pool.__new__` for the line that made a pool, `QueuePool._do_get` for
callers that wait. Every listener swallows its own errors: the app comes first.
"""

import sys
import weakref
from itertools import count

from . import stacks as frames
from . import state as table
from . import transport as wire
from .sessions import backend_of
from .state import Connection, closed, current, emit, given_back, here, monotonic, opened, taken, watch_end
from .workers import get_ident, this_task

_waiters = count(1)


class PoolMark:
    """What is known of a pool; `ref` is weak."""

    __slots__ = ("created", "frames", "number", "ref", "used")

    def __init__(self, pools, number, pool, found):
        key = id(pool)

        def gone(ref):
            mark = pools.get(key)
            if mark is not None and mark.ref is ref:
                del pools[key]

        self.number = number
        self.ref = weakref.ref(pool, gone)
        self.frames = found
        self.created = monotonic()
        self.used = False


def watch(module):
    """Listens on every pool of the process, those to come and those that are there."""
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
    """Returns the listener with its errors swallowed; a `try` costs nothing until it is needed."""

    def listener(*args):
        try:
            function(*args)
        except Exception:
            current().dropped += 1  # what this listener would have told is missing

    return listener


def mark_of(state, pool):
    """Returns the pool's mark; a pool from before the probe gets one without a line."""
    if pool is None:
        return None
    mark = state.pools.get(id(pool))
    if mark is None or mark.ref() is not pool:
        mark = state.pools[id(pool)] = PoolMark(state.pools, next(state.numbers), pool, [])
    return mark


@guard
def on_connect(dbapi_connection, record):
    state = here()
    pool = getattr(record, "_ConnectionRecord__pool", None)
    mark = mark_of(state, pool)
    number = mark.number if mark else 0
    connection = Connection(backend_of(dbapi_connection), number, "pool")
    raw = getattr(dbapi_connection, "driver_connection", dbapi_connection)
    opened(state, id(dbapi_connection), connection)
    watch_end(id(dbapi_connection), connection, raw)
    if mark and not mark.used:
        mark.used = True
        emit(state, "pool", pool=number, frames=mark.frames)
    emit(
        state,
        "connect",
        backend=connection.backend,
        pool=number,
        frames=frames.capture(sys._getframe(1)),
        overflow=getattr(pool, "_overflow", 0) > 0,
    )
    wire.arm()


def on_checkout(dbapi_connection, record, fairy):  # the hot path: no guard around it, which would cost a call
    try:
        state = current()
        connection = state.connections.get(id(dbapi_connection))
        if connection is None:
            connection = Connection(backend_of(dbapi_connection), 0, "pool")
            opened(state, id(dbapi_connection), connection)
        if taken(state, connection, sys._getframe(3)).at > wire.line.due:  # past the dispatch and the pool's _checkout
            wire.tick()
    except Exception:
        current().dropped += 1


def on_checkin(dbapi_connection, record):
    try:
        if dbapi_connection is not None:  # None: it was invalidated, and told as closed
            state = table.state  # what is given back was taken in this process: no os.getpid() here
            connection = state.connections.get(id(dbapi_connection))
            if (
                connection is not None
                and connection.checkout is not None
                and given_back(state, connection) > wire.line.due
            ):
                wire.tick()
    except Exception:
        current().dropped += 1


@guard
def on_close(dbapi_connection, record):
    closed(current(), id(dbapi_connection), sys._getframe(1))


@guard
def on_close_detached(dbapi_connection):
    closed(current(), id(dbapi_connection), sys._getframe(1))


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


def wrap_new(Pool):
    """Notes the line that makes each pool.

    By __new__, not __init__: create_engine() reads the arguments of __init__ from its code object, and refuses
    `echo_pool` and others when that is somebody's wrapper.
    """
    original = Pool.__new__

    def __new__(cls, *args, **kwargs):
        self = original(cls) if original is object.__new__ else original(cls, *args, **kwargs)
        try:
            state = current()
            found = frames.capture(sys._getframe(1))
            state.pools[id(self)] = PoolMark(state.pools, next(state.numbers), self, found)
        except Exception:
            pass
        return self

    Pool.__new__ = __new__


def wrap_get(QueuePool):
    """Notes who waits for a connection, for how long, and in vain; a pool with room costs one comparison."""
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
            wait_ends(self, waiter, began, outcome)

    _do_get.__wrapped__ = original
    QueuePool._do_get = _do_get


def wait_ends(pool, waiter, began, outcome):
    """Tells of a wait; the first in vain freezes the holder table."""
    try:
        state = current()
        state.waiting.pop(waiter, None)
        seconds = monotonic() - began
        if outcome == "timeout" or seconds > 0.001:
            mark = mark_of(state, pool)
            found = frames.capture(sys._getframe(2))
            emit(
                state,
                outcome,
                pool=mark.number,
                seconds=seconds,
                nested=holds_one_of(state, mark.number, found),
                frames=found,
            )
        if outcome == "timeout":
            wire.freeze(state, "QueuePool limit of size %d overflow %d reached" % (pool.size(), pool._max_overflow))
    except Exception:
        pass


def holds_one_of(state, pool, found):
    """Tells whether the calling thread, greenlet or task has a connection of that pool, taken at another point.

    One that was taken at this very point belongs to an earlier call: a pool's thread may serve the next request while
    the last one's dependency waits for its end.
    """
    me, task = get_ident(), this_task()
    for checkout in list(state.checkouts.values()):
        if checkout.connection.pool == pool and checkout.frames[:2] != found[:2]:
            if task is not None:
                if checkout.task is not None and checkout.task() is task:
                    return True
            elif checkout.task is None and checkout.thread.ident == me:
                return True
    return False
