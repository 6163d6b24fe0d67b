"""What is open in this process and who has it: connections, checkouts, pools, waiters, and the events about them.

One `State` a process; a forked child gets a new one by Python's at-fork hook. uWSGI runs none: there every event
compares os.getpid(), a system call that costs as much as all the rest of `current`. Everything here is safe under
the interpreter's own lock: single dict and deque operations.
"""

import itertools
import os
import sys
import time
import weakref
from collections import deque

from . import requests
from .stacks import capture
from .workers import get_ident, is_over, local, this_task, this_thread, weakly

LIMIT = 20000
"""Events that may wait for being sent; more are dropped, and counted."""

# kept from before gevent or eventlet replace them
monotonic = time.monotonic
getpid = os.getpid

_collecting = [0]


class Connection:
    """An open connection; `checkout` is who has it now, None when it is idle in its pool."""

    __slots__ = ("backend", "checkout", "pool", "process", "ref", "source")

    def __init__(self, backend, pool, source):
        self.backend = backend
        self.pool = pool
        self.source = source
        self.process = getpid()
        self.checkout = None
        self.ref = None


class Checkout:
    """A taking of a connection that was not given back yet; `use` is there only with `queries`."""

    __slots__ = ("at", "connection", "frames", "number", "request", "task", "thread", "use")

    def __init__(self, number, connection, found):
        self.number = number
        self.connection = connection
        try:
            self.thread = local.thread
        except AttributeError:
            self.thread = this_thread()
        task = this_task()
        self.task = task if task is None else weakly(task)
        self.frames = found
        self.request = requests.current()
        self.at = monotonic()


class State:
    """All of one process."""

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
        self.froze = ""


state = State()


silent_forks = False
"""Whether this process is one whose forks Python does not see."""


def current():
    """Returns this process's state, a new one right after a fork."""
    if silent_forks and getpid() != state.pid:
        forked()
    return state


def here():
    """Returns this process's state, whatever forked it: for what is rare enough to ask."""
    if getpid() != state.pid:
        forked()
    return state


def forked():
    """Gives a forked child a state of its own."""
    global state
    parent = state
    for connection in parent.connections.values():
        connection.checkout = None  # that checkout is the parent's
    state = State(parent)
    for mark in state.pools.values():
        mark.used = False  # until this process has opened a connection with it
    from . import transport as wire

    wire.after_fork(bool(parent.connections))


def emit(state, kind, **facts):
    """Puts an event up for sending; never blocks."""
    facts["thread"] = get_ident()
    put(state, (monotonic(), kind, facts))


def put(state, event):
    if len(state.events) >= LIMIT:
        state.dropped += 1
    else:
        state.events.append(event)


def note(text):
    emit(current(), "note", detail=text)


def on_collector(phase, info):
    """Marks the thread that runs the cyclic collector: what is given back inside it was not given back by the app."""
    _collecting[0] = get_ident() if phase == "start" else 0


def in_collector():
    return _collecting[0] == get_ident()


def opened(state, key, connection):
    """Enters a new connection; one that was opened by hand and then given to a pool is the pool's from now on."""
    global silent_forks
    silent_forks = "uwsgi" in sys.modules
    old = state.connections.get(key)
    if old is not None:
        given_back(state, old)
    state.connections[key] = connection


def watch_end(key, connection, raw):
    """Notices the end of a connection that nobody closes: when the object goes, so does the session."""

    def gone(ref):
        try:
            here = state
            known = here.connections.get(key)
            if here.pid == getpid() and known is not None and known.ref is ref:
                closed(here, key)
        except Exception:
            pass

    try:
        connection.ref = weakref.ref(raw, gone)
    except TypeError:  # some drivers' are not weak-referenceable
        pass


def taken(state, connection, frame):
    """Enters a checkout by the calling worker, with the app's line; returns it.

    A StaticPool hands one connection to many at once, and tells only the first giving back: there the newest counts.
    """
    before = connection.checkout
    if before is not None:
        given_back(state, connection)
    checkout = Checkout(next(state.numbers), connection, capture(frame))
    connection.checkout = checkout
    state.checkouts[checkout.number] = checkout
    if connection.process != state.pid:
        used_elsewhere(state, connection, "taken", checkout.frames)
    elif before is not None and another_lives(before, checkout):
        used_at_once(state, connection, "taken", "while another had it", checkout.frames)
    if len(state.events) >= LIMIT:
        state.dropped += 1
    else:
        state.events.append(checkout)
    return checkout


def another_lives(before, now):
    """Tells whether a checkout's worker is another thread, greenlet or task than the second's, and not over."""
    if before.task is None or now.task is None:
        other = before.task is not now.task or before.thread.ident != now.thread.ident
    else:
        other = before.task() is not now.task()
    if not other:
        return False
    return before.thread.alive() is not None if before.task is None else not is_over(before.task())


def given_back(state, connection):
    """Ends a checkout; one that the collector ended is marked."""
    checkout = connection.checkout
    if checkout is None:
        return
    connection.checkout = None
    state.checkouts.pop(checkout.number, None)
    at = monotonic()
    if _collecting[0] and in_collector():
        state.collected += 1
        put(state, (at, "collected", checkout.number))
    elif len(state.events) >= LIMIT:
        state.dropped += 1
    else:
        state.events.append((at, None, checkout.number))
    return at


def closed(state, key, frame=None):
    """Ends a connection, and the checkout that still had it."""
    connection = state.connections.pop(key, None)
    if connection is not None:
        given_back(state, connection)
        if connection.process != state.pid and frame is not None:
            used_elsewhere(state, connection, "closed", capture(frame))
        emit(state, "close", backend=connection.backend, pool=connection.pool, gc=in_collector())


def used_elsewhere(state, connection, how, found):
    """Tells that a connection was used by another process than the one that opened it."""
    emit(
        state,
        "shared",
        backend=connection.backend,
        frames=found,
        detail="%s in process %d, opened in process %d" % (how, state.pid, connection.process),
        other=connection.process,
        action=how,
    )


def used_at_once(state, connection, did, how, found):
    """Tells that a connection was used by one thread or task of this process when another had it."""
    kind = "task" if this_task() is not None else "thread"
    emit(state, "shared", backend=connection.backend, frames=found, detail="%s by a %s %s" % (did, kind, how))
