"""The connections, checkouts, pools and waiting callers of this process, and the events about them.

There is one `State` per process; a forked child gets a new one from Python's at-fork hook. uWSGI forks without that
hook: there, every event compares os.getpid(), a system call that costs as much as the rest of `current`. Everything
here is safe under the interpreter lock: single dict and deque operations.
"""

import itertools
import os
import sys
import time
import weakref
from collections import deque

from . import requests
from .owners import get_ident, is_over, local, this_task, this_thread, weakly
from .stacks import capture

MAX_EVENTS = 20000
"""Unsent events that are kept; further ones are dropped and counted."""
after_fork = []  # type: list
"""Functions that a forked child calls, with whether its parent had open connections."""

# bound before gevent or eventlet replace them
monotonic = time.monotonic
getpid = os.getpid

_gc_thread = [0]


class Connection:
    """An open connection; `checkout` is its current checkout, None while it is idle in its pool."""

    __slots__ = ("backend", "checkout", "pool", "process", "ref", "source")

    def __init__(self, backend, pool, source):
        self.backend = backend
        self.pool = pool
        self.source = source
        self.process = getpid()
        self.checkout = None
        self.ref = None


class Checkout:
    """A connection in use, with its owner and stack; `use` exists only with `--probe queries`."""

    __slots__ = ("at", "connection", "frames", "number", "request", "task", "thread", "use")

    def __init__(self, number, connection, frames):
        self.number = number
        self.connection = connection
        try:
            self.thread = local.thread
        except AttributeError:
            self.thread = this_thread()
        task = this_task()
        self.task = task if task is None else weakly(task)
        self.frames = frames
        self.request = requests.current()
        self.at = monotonic()


class State:
    """The bookkeeping of one process."""

    def __init__(self, parent=None):
        self.pid = getpid()
        self.connections = dict(parent.connections) if parent else {}
        self.pools = parent.pools if parent else {}
        self.numbers = parent.numbers if parent else itertools.count(1)
        self.checkouts = {}
        self.waiting = {}
        self.events = deque()
        self.dropped = 0
        self.collected = 0
        self.first_exhaustion = ""


active = State()
"""This process's state."""


silent_forks = False
"""Whether this process forks without running Python's at-fork hooks."""


def current():
    """Return this process's state, a new one right after a fork."""
    if silent_forks and getpid() != active.pid:
        reset_after_fork()
    return active


def this_process():
    """Return this process's state after comparing os.getpid(): for rare events."""
    if getpid() != active.pid:
        reset_after_fork()
    return active


def reset_after_fork():
    """Replace the state in a forked child."""
    global active
    parent = active
    for connection in parent.connections.values():
        connection.checkout = None  # that checkout is the parent's
    active = State(parent)
    for mark in active.pools.values():
        mark.used = False  # until this process has opened a connection with it
    for function in after_fork:
        function(bool(parent.connections))


def emit(state, kind, **facts):
    """Queue an event for sending; never block."""
    facts["thread"] = get_ident()
    append_event(state, (monotonic(), kind, facts))


def append_event(state, event):
    if len(state.events) >= MAX_EVENTS:
        state.dropped += 1
    else:
        state.events.append(event)


def note(text):
    """Queue a note for the recording."""
    emit(current(), "note", detail=text)


def on_gc(phase, info):
    """Mark the thread that runs the cyclic garbage collector: a return inside it is not the app's doing."""
    _gc_thread[0] = get_ident() if phase == "start" else 0


def in_gc():
    return _gc_thread[0] == get_ident()


def record_connect(state, key, connection):
    """Add a new connection; one opened directly and then handed to a pool belongs to the pool from now on."""
    global silent_forks
    silent_forks = "uwsgi" in sys.modules
    old = state.connections.get(key)
    if old is not None:
        record_checkin(state, old)
    state.connections[key] = connection


def watch_finalization(key, connection, raw):
    """Record the close of a connection that is garbage collected without close(): its session ends with it."""

    def gone(ref):
        try:
            now = active
            record = now.connections.get(key)
            if now.pid == getpid() and record is not None and record.ref is ref:
                record_close(now, key)
        except Exception:
            pass

    try:
        connection.ref = weakref.ref(raw, gone)
    except TypeError:  # some drivers' connections do not support weak references
        pass


def record_checkout(state, connection, frame):
    """Add a checkout by the calling thread or task, with the app's stack, and return it.

    A StaticPool lends one connection to many callers at once and reports only the first checkin: the newest counts.
    """
    before = connection.checkout
    if before is not None:
        record_checkin(state, connection)
    checkout = Checkout(next(state.numbers), connection, capture(frame))
    connection.checkout = checkout
    state.checkouts[checkout.number] = checkout
    if connection.process != state.pid:
        report_other_process(state, connection, "taken", checkout.frames)
    elif before is not None and has_other_live_owner(before, checkout):
        report_concurrent_use(state, connection, "taken", "while another had it", checkout.frames)
    if len(state.events) >= MAX_EVENTS:
        state.dropped += 1
    else:
        state.events.append(checkout)
    return checkout


def has_other_live_owner(before, now):
    """Return whether `before` belongs to another thread, greenlet or task than `now`, and that one still runs."""
    if before.task is None or now.task is None:
        other = before.task is not now.task or before.thread.ident != now.thread.ident
    else:
        other = before.task() is not now.task()
    if not other:
        return False
    return before.thread.alive() is not None if before.task is None else not is_over(before.task())


def record_checkin(state, connection):
    """End a checkout; mark it if the garbage collector ended it."""
    checkout = connection.checkout
    if checkout is None:
        return
    connection.checkout = None
    state.checkouts.pop(checkout.number, None)
    at = monotonic()
    if _gc_thread[0] and in_gc():
        state.collected += 1
        append_event(state, (at, "collected", checkout.number))
    elif len(state.events) >= MAX_EVENTS:
        state.dropped += 1
    else:
        state.events.append((at, None, checkout.number))
    return at


def record_close(state, key, frame=None):
    """Remove a connection, and end its checkout."""
    connection = state.connections.pop(key, None)
    if connection is not None:
        record_checkin(state, connection)
        if connection.process != state.pid and frame is not None:
            report_other_process(state, connection, "closed", capture(frame))
        emit(state, "close", backend=connection.backend, pool=connection.pool, gc=in_gc())


def report_other_process(state, connection, how, frames):
    """Report that a connection is used by another process than the one that opened it."""
    emit(
        state,
        "shared",
        backend=connection.backend,
        frames=frames,
        detail="%s in process %d, opened in process %d" % (how, state.pid, connection.process),
        other=connection.process,
        action=how,
    )


def report_concurrent_use(state, connection, did, how, frames):
    """Report that a connection is used by one thread or task while another has it checked out."""
    kind = "task" if this_task() is not None else "thread"
    emit(state, "shared", backend=connection.backend, frames=frames, detail="%s by a %s %s" % (did, kind, how))
