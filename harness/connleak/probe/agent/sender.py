"""The sending thread: it starts with the first event, stops around a fork, and wakes ten times a second.

Where threads do not run (uWSGI without --enable-threads), or not in time, the next event sends.
"""

import _thread
import os
import select
import sys

from . import transport
from .state import getpid, monotonic

EVERY = 0.1
"""Seconds between two sendings."""
MAX_FAILURES = 2
"""Errors of the probe that end the sending thread for good."""

# bound before gevent or eventlet replace them
start_new_thread = _thread.start_new_thread
allocate_lock = _thread.allocate_lock
poll = getattr(select, "poll", None)
read, write = os.read, os.write


class Sender:
    """The sending thread of one process."""

    def __init__(self):
        self.pid = getpid()
        self.transport = transport.active
        self.started = False
        """Whether sending has begun: a process without a database gets no thread."""
        self.running = False
        """Whether the thread should run."""
        self.lock = allocate_lock()
        """Held by the thread, so that there is never a second one."""
        self.failures = 0
        self.collector_gone = False
        self.wake = None
        """The pipe that wakes the thread."""


active = Sender()
"""This process's sender; a forked child gets a new one."""


def after_fork(parent_had_connections):
    """Connect a forked child to the collector."""
    global active
    parent = active
    had_transport = transport.reset()
    active = Sender()
    if had_transport:
        for end in parent.wake or ():
            os.close(end)  # the parent keeps its own
        if parent_had_connections:
            start()


def start():
    """Start sending, if there is a collector and it has not been started."""
    if transport.active.socket is not None and not active.started:
        active.started = True
        transport.active.threadless = threadless()
        transport.active.postpone()
        _start_thread()


def threadless():
    """Return whether no Python thread runs here between requests: uWSGI then holds the interpreter lock."""
    uwsgi = sys.modules.get("uwsgi")
    options = getattr(uwsgi, "opt", None)
    return options is not None and not any(name in options for name in ("enable-threads", "threads"))


def _start_thread():
    """Start the thread, unless it runs or has failed for good."""
    if active.failures >= MAX_FAILURES or active.collector_gone:
        return
    active.running = True  # before trying the lock: a thread about to end then continues instead
    if not active.lock.acquire(False):
        return
    try:
        if active.wake is None:  # one pipe for good: the app would soon reuse the descriptor of a closed one
            active.wake = os.pipe()
            os.set_blocking(active.wake[1], False)
        start_new_thread(_run, (active,))
    except Exception:  # no descriptor or no thread: events send instead, and try this again
        active.running = False
        active.lock.release()


def _wake(byte):
    """Wake the thread; if the pipe is full it is awake already."""
    try:
        write(active.wake[1], byte)
    except OSError:
        pass


def pause():
    """Stop the thread before a fork, because Python 3.12 and newer warn about forking with several threads.

    The app waits 0.2 s at most: a thread that is still busy then continues after the fork.
    """
    if active.running and active.pid == getpid():
        active.running = False
        if active.wake is not None:
            _wake(b".")
        if active.lock.acquire(True, 0.2):
            active.lock.release()


def resume():
    """Restart the thread in the parent after a fork, or if it could not be started before."""
    if active.started and not active.running:
        _start_thread()


def _run(mine):
    """Send until `running` is False; continue after the first error, and leave sending to events after the second."""
    while True:
        try:
            _send_regularly(mine)
        except BaseException:
            mine.failures += 1
            if transport.DEBUG:
                sys.excepthook(*sys.exc_info())
        over = mine.collector_gone or mine.failures >= MAX_FAILURES or mine.pid != getpid()
        if over or not mine.running:
            mine.lock.release()
            # a fork that ended before this thread did has not started another one
            if over or not mine.running or not mine.lock.acquire(False):
                return


def _send_regularly(mine):
    waiter = poll()
    waiter.register(mine.transport.socket.fileno(), select.POLLIN)
    waiter.register(mine.wake[0], select.POLLIN)
    while mine.running and mine.pid == getpid():
        for number, _ in waiter.poll(EVERY * 1000):
            if number == mine.wake[0]:
                read(number, 16)
        if mine.running and not transport.exchange():
            mine.collector_gone = True
            return


def flush_overdue():
    """Send at an event later than `transport.active.due`, since the thread has not."""
    if not active.started:
        start()
        return
    resume()
    transport.exchange()


def snapshot_at_first_exhaustion(state, reason):
    """Send the holder table at the first pool timeout or refused connection."""
    if not state.first_exhaustion:
        state.first_exhaustion = reason
        transport.active.first_exhaustion = (monotonic(), reason)
        if transport.active.threadless or not active.running or active.wake is None:
            transport.exchange()
        else:
            _wake(b"!")
