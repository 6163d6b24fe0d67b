"""The connection to the collector: messages out, commands in, over a Unix socket (SOCK_SEQPACKET).

Nothing here waits for the collector: what cannot be sent at once is tried again later, then dropped and counted.
"""

import _socket
import _thread
import gc
import json
import os
import sys

from . import messages
from .state import current, getpid, monotonic

OVERDUE = 0.5
"""Seconds since the last sending after which the next event sends, in case the sending thread does not run."""
GC_MODE = os.environ.get("CONNLEAK_GC", "normal")
"""How the cyclic garbage collector runs: normal, off, or eager (also before each holder table)."""
DEBUG = bool(os.environ.get("CONNLEAK_PROBE_DEBUG"))
"""Whether the probe's own errors are written to the app's stderr."""

CANARY = bool(os.environ.get("CONNLEAK_CANARY"))
"""Whether a canary will be planted."""

# bound before gevent or eventlet replace it
allocate_lock = _thread.allocate_lock


class Transport:
    """One process's connection to the collector."""

    def __init__(self):
        self.pid = getpid()
        self.socket = None
        self.numbering = messages.Numbering()
        self.first_exhaustion = None
        """(moment, reason) of the first exhaustion, until its holder table has been sent."""
        self.due = 0.0
        """The moment from which an event does the sending itself."""
        self.threadless = False
        """Whether no Python thread runs between requests, so that only events can send."""
        self.last_counts = None
        self.lock = allocate_lock()

    def postpone(self):
        """Make the next sending by an event due later; without threads it is due at once."""
        self.due = 0.0 if self.threadless else monotonic() + OVERDUE


active = Transport()
"""This process's transport; a forked child gets a new one."""
before_send = []  # type: list
"""Functions that update the process's state before each sending."""


def connect():
    """Connect to the collector and introduce this process; without a collector the probe stays silent for good."""
    path = os.environ.get("CONNLEAK_SOCKET")
    if not path:
        return
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(1.0)
        connection.connect(path)
        connection.setblocking(False)
        active.socket = connection
        send(
            {
                "hello": getpid(),
                "parent": os.getppid(),
                "token": os.environ.get("CONNLEAK_TOKEN", ""),
                "python": "%d.%d.%d" % sys.version_info[:3],
                "command": " ".join(getattr(sys, "orig_argv", None) or getattr(sys, "argv", None) or [])[:200],
            }
        )
    except OSError:
        active.socket = None
        connection.close()


def reset():
    """Give a forked child a transport of its own; return whether its parent had a connection.

    The parent's socket is only closed here: nothing may be sent on it.
    """
    global active
    parent = active
    active = Transport()
    if parent.socket is None:
        return False
    parent.socket.close()
    connect()
    return True


def exchange():
    """Send what is queued and carry out commands; return False if the collector is gone."""
    if not active.lock.acquire(False):
        return True
    try:
        state = current()
        for update in before_send:
            update(state)
        if active.first_exhaustion:
            send_first_exhaustion(state)
        flush(state)
        return receive_commands()
    except Exception:
        if DEBUG:
            sys.excepthook(*sys.exc_info())
        return True
    finally:
        active.postpone()
        active.lock.release()


def send_message(message):
    """Send a message of this process with its new stacks and requests; return whether it was sent."""
    message["process"] = active.pid
    message.update(active.numbering.unsent())
    sent = send(message)
    if sent:
        active.numbering.mark_sent()
    return sent


def send(message):
    """Send one message without waiting; return False if the collector does not keep up or is gone."""
    try:
        # not ASCII: half a surrogate, as in a file name that is not UTF-8, is replaced instead of escaped
        active.socket.send(json.dumps(message, default=str, ensure_ascii=False).encode("utf-8", "replace"))
    except OSError:
        return False
    return True


def flush(state):
    """Send the queued events in batches, with the current counts."""
    while True:
        batch = []
        while state.events and len(batch) < messages.BATCH:
            batch.append(state.events.popleft())
        counts = (len(state.checkouts), len(state.waiting), state.dropped)
        if not batch and counts == active.last_counts:
            return
        message = messages.encode_events(batch, active.numbering)
        message.update({"out": counts[0], "waiting": counts[1], "dropped": counts[2], "threadless": active.threadless})
        if not send_message(message):
            state.events.extendleft(reversed(batch))
            return
        active.last_counts = counts
        if not batch:
            return


def send_first_exhaustion(state):
    at, reason = active.first_exhaustion
    active.first_exhaustion = None
    flush(state)
    for part in messages.encode_holders(state, active.numbering):
        part.update({"first_exhaustion": reason, "t": at})
        send_message(part)


def receive_commands():
    """Read the waiting commands and carry them out; return False if the collector is gone."""
    while True:
        try:
            data = active.socket.recv(4096)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        if not data:
            return False
        command = json.loads(data.decode())
        handle_command(current(), command["do"], command["key"])


def handle_command(state, name, key):
    """Carry out one command and send its answer."""
    handler = COMMANDS.get(name)
    if handler is not None:
        for part in handler(state):
            part["answer"] = key
            send_message(part)


def snapshot(state):
    """Return the holder table, as the parts of an answer."""
    if GC_MODE == "eager":
        gc.collect()
    flush(state)
    return messages.encode_holders(state, active.numbering)


def collect(state):
    """Run the garbage collector; the answer counts the checkouts that it ended."""
    before = state.collected
    gc.collect()
    flush(state)
    return [{"final": True, "by_gc": state.collected - before}]


COMMANDS = {"snapshot": snapshot, "collect": collect}
"""The collector's commands; each returns the parts of its answer. `install` adds `canary`."""
