"""What is open in this process and who has it: connections, checkouts, pools, waiters, and the events about them.

One `State` a process; a forked child gets a new one at its next event, found by comparing os.getpid(), since uWSGI
runs no at-fork hooks. Everything here is safe under the interpreter's own lock: single dict and deque operations.
"""

import _thread
import itertools
import os
import sys
import time
import weakref
from collections import deque

from . import frames, requests

LIMIT = 20000
"""Events that may wait for being sent; more are dropped, and counted."""

# kept from before gevent or eventlet replace them: the probe's thread is a real one
get_ident = _thread.get_ident
monotonic = time.monotonic
getpid = os.getpid

_local = _thread._local()
_collecting = [0]


class Thread:
    """Stands for a thread as long as it lives: only the thread's own storage holds it."""

    __slots__ = ("__weakref__", "ident", "name", "ref")

    def __init__(self):
        self.ident = get_ident()
        self.name = _thread_name(self.ident)
        self.ref = weakref.ref(self)


class Connection:
    """An open connection; `checkout` is who has it now, None when it is idle in its pool."""

    __slots__ = ("backend", "checkout", "opened", "pool", "process", "ref", "source")

    def __init__(self, backend, pool, source):
        self.backend = backend
        self.pool = pool
        self.source = source
        self.process = getpid()
        self.opened = monotonic()
        self.checkout = None
        self.ref = None


class Checkout:
    """A taking of a connection that was not given back yet."""

    __slots__ = ("at", "connection", "frames", "ident", "number", "pool", "request", "thread", "thread_name")

    def __init__(self, number, connection, thread, found):
        self.number = number
        self.connection = connection
        self.at = monotonic()
        self.thread = thread.ref
        self.ident = thread.ident
        self.thread_name = thread.name
        self.frames = found
        self.pool = connection.pool
        self.request = requests.current()


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


state = State()


def current():
    """Returns this process's state, a new one right after a fork."""
    global state
    if getpid() != state.pid:
        parent = state
        for connection in parent.connections.values():
            connection.checkout = None  # that checkout is the parent's
        state = State(parent)
        for mark in state.pools.values():
            mark.used = False  # until this process has opened a connection with it
        from . import wire

        wire.after_fork(bool(parent.connections))
    return state


def emit(state, kind, **facts):
    """Puts an event up for sending; never blocks."""
    if len(state.events) >= LIMIT:
        state.dropped += 1
    else:
        state.events.append((monotonic(), kind, facts))


def note(text):
    emit(current(), "note", detail=text)


def this_thread():
    try:
        return _local.thread
    except AttributeError:
        _local.thread = thread = Thread()
        return thread


def _thread_name(ident):
    threading = sys.modules.get("threading")
    thread = getattr(threading, "_active", {}).get(ident)
    return getattr(thread, "name", "") or ""


def on_collector(phase, info):
    """Marks the thread that runs the cyclic collector: what is given back inside it was not given back by the app."""
    _collecting[0] = get_ident() if phase == "start" else 0


def in_collector():
    return _collecting[0] == get_ident()


def opened(state, key, connection):
    """Enters a new connection; one that was opened by hand and then given to a pool is the pool's from now on."""
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
    except TypeError:  # sqlite3's are not weak-referenceable
        pass


def taken(state, connection, frame):
    """Enters a checkout by the calling thread, with the app's line."""
    checkout = Checkout(next(state.numbers), connection, this_thread(), frames.capture(frame))
    connection.checkout = checkout
    state.checkouts[checkout.number] = checkout
    events = state.events
    if len(events) >= LIMIT:
        state.dropped += 1
    else:
        events.append((checkout.at, "checkout", checkout))


def given_back(state, connection):
    """Ends a checkout; one that the collector ended is marked."""
    checkout = connection.checkout
    if checkout is None:
        return
    connection.checkout = None
    state.checkouts.pop(checkout.number, None)
    by_collector = in_collector()
    if by_collector:
        state.collected += 1
    if len(state.events) >= LIMIT:
        state.dropped += 1
    else:
        state.events.append((monotonic(), "collected" if by_collector else "checkin", checkout))


def closed(state, key):
    """Ends a connection, and the checkout that still had it."""
    connection = state.connections.pop(key, None)
    if connection is not None:
        given_back(state, connection)
        emit(state, "close", backend=connection.backend, pool=connection.pool, gc=in_collector())
