"""How the facts leave: a thread that batches them over a Unix socket (SOCK_SEQPACKET) and answers three questions.

snapshot: who has what now; collect: run the cyclic collector; where no thread runs, both are done at the next event.
Nothing here waits for the collector process: what cannot be sent at once is tried again, then dropped and counted.
"""

import _socket
import _thread
import gc
import json
import os
import select
import sys

from . import drivers, messages
from . import state as table
from .state import getpid, monotonic

EVERY = 0.1
OVERDUE = 0.5
"""Without a thread that sends, an event does it, when the last sending is longer ago than this."""
MODE = os.environ.get("CONNLEAK_GC", "normal")
"""How the cyclic collector runs: normal, off, or eager (also before every holder table)."""
FAILURES = 2
"""Errors of ours that end the sending thread."""
DEBUG = bool(os.environ.get("CONNLEAK_PROBE_DEBUG"))
"""Whether what goes wrong in here is written to the app's own stderr."""
CANARY = bool(os.environ.get("CONNLEAK_CANARY"))
UNWATCHED = ("pg8000", "aiomysql", "pgdb", "psycopg2cffi", "aiopg", "mysql.connector")

# kept from before gevent or eventlet replace them
start_new_thread = _thread.start_new_thread
allocate_lock = _thread.allocate_lock
poll = getattr(select, "poll", None)
read, write = os.read, os.write


class Line:
    """The line to the collector, of one process."""

    def __init__(self):
        self.pid = getpid()
        self.socket = None
        self.numbers = messages.Numbers()
        self.frozen = None
        self.running = False
        self.armed = False
        self.alone = False
        self.due = 0.0
        self.last_counts = None
        self.lock = allocate_lock()
        self.sender = allocate_lock()
        """Held by the one thread that sends, so that there is never a second one."""
        self.failures = 0
        self.gone = False
        """Whether the collector is."""
        self.wake = None


line = Line()


def hello():
    """Says that this process is watched; without a collector the probe stays silent for good."""
    path = os.environ.get("CONNLEAK_SOCKET")
    if not path:
        return
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(1.0)
        connection.connect(path)
        connection.setblocking(False)
        line.socket = connection
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
        line.socket = None
        connection.close()


def after_fork(inherited):
    """Gives a forked child a line of its own; the parent's socket is only closed, never spoken on."""
    global line
    old = line
    line = Line()
    if old.socket is not None:
        old.socket.close()
        for end in old.wake or ():
            os.close(end)  # the parent keeps its own
        hello()
        if inherited:
            arm()


def arm():
    """Starts the sending thread, at the first thing worth telling: a process without database gets none."""
    if line.socket is not None and not line.armed:
        line.armed = True
        line.alone = no_threads()
        line.due = 0.0 if line.alone else monotonic() + OVERDUE
        _start()


def no_threads():
    """Tells whether between requests no thread of Python's runs here: uWSGI keeps the interpreter's lock then."""
    uwsgi = sys.modules.get("uwsgi")
    options = getattr(uwsgi, "opt", None)
    return options is not None and not any(name in options for name in ("enable-threads", "threads"))


def _start():
    """Starts the sending thread, unless there is one or it has failed for good."""
    if line.failures >= FAILURES or line.gone:
        return
    line.running = True  # before the lock is tried: a sender that is about to end goes on instead
    if not line.sender.acquire(False):
        return
    try:
        if line.wake is None:  # one pipe for good: the number of a closed one would soon be a file of the app's
            line.wake = os.pipe()
            os.set_blocking(line.wake[1], False)
        start_new_thread(_run, (line,))
    except Exception:  # no descriptor, no thread: events do the sending, and try again
        line.running = False
        line.sender.release()


def _wake(word):
    """Wakes the sending thread; one that has much to read already is awake."""
    try:
        write(line.wake[1], word)
    except OSError:
        pass


def pause():
    """Before a fork: ends our thread, for a fork of several threads is warned of from Python 3.12 on.

    One that is busy for longer than the app should wait finds after the fork that it is to go on.
    """
    if line.running and line.pid == getpid():
        line.running = False
        if line.wake is not None:
            _wake(b".")
        if line.sender.acquire(True, 0.2):
            line.sender.release()


def resume():
    """Goes on, after a fork in the parent, or when the thread could not be started before."""
    if line.armed and not line.running:
        _start()


def _run(mine):
    """Sends until it is told to end; an error of ours is borne once, after the second events do the sending."""
    while True:
        try:
            _send_on(mine)
        except BaseException:
            mine.failures += 1
            if DEBUG:
                sys.excepthook(*sys.exc_info())
        over = mine.gone or mine.failures >= FAILURES or mine.pid != getpid()
        if over or not mine.running:
            mine.sender.release()
            # a fork that was over before we had ended started no other sender
            if over or not mine.running or not mine.sender.acquire(False):
                return


def _send_on(mine):
    waiter = poll()
    waiter.register(mine.socket.fileno(), select.POLLIN)
    waiter.register(mine.wake[0], select.POLLIN)
    while mine.running and mine.pid == getpid():
        for number, _ in waiter.poll(EVERY * 1000):
            if number == mine.wake[0]:
                read(number, 16)
        if mine.running and not work():
            mine.gone = True
            return


def tick():
    """At an event that comes after `line.due`: does the thread's work where the thread does not get to it."""
    if not line.armed:
        arm()
        return
    resume()
    work()


def work():
    """Sends what waits and answers what was asked; False when the collector is gone."""
    if not line.lock.acquire(False):
        return True
    try:
        state = table.current()
        drivers.sweep(state)
        if line.frozen:
            send_frozen(state)
        flush(state)
        return answer()
    except Exception:
        if DEBUG:
            sys.excepthook(*sys.exc_info())
        return True
    finally:
        line.due = 0.0 if line.alone else monotonic() + OVERDUE
        line.lock.release()


def tell(message):
    """Sends a message of this process with its new stacks and requests; False when it could not be sent."""
    message["process"] = line.pid
    message.update(line.numbers.fresh())
    sent = send(message)
    if sent:
        line.numbers.told()
    return sent


def send(message):
    """Sends one message at once; False when the collector does not keep up or is gone."""
    try:
        # not ASCII: half a surrogate, as in the name of a file that is no UTF-8, is replaced, not escaped
        line.socket.send(json.dumps(message, default=str, ensure_ascii=False).encode("utf-8", "replace"))
    except OSError:
        return False
    return True


def flush(state):
    """Sends the waiting events in batches, with the counts of this moment."""
    while True:
        batch = []
        while state.events and len(batch) < messages.BATCH:
            batch.append(state.events.popleft())
        counts = (len(state.checkouts), len(state.waiting), state.dropped)
        if not batch and counts == line.last_counts:
            return
        message = messages.of_events(batch, line.numbers)
        message.update({"out": counts[0], "waiting": counts[1], "dropped": counts[2], "alone": line.alone})
        if not tell(message):
            state.events.extendleft(reversed(batch))
            return
        line.last_counts = counts
        if not batch:
            return


def freeze(state, reason):
    """At the first caller that a pool or the server turned away: has the holder table sent as it is now."""
    if not state.froze:
        state.froze = reason
        line.frozen = (monotonic(), reason)
        if line.alone or not line.running or line.wake is None:
            work()
        else:
            _wake(b"!")


def send_frozen(state):
    at, reason = line.frozen
    line.frozen = None
    flush(state)
    for part in messages.of_holders(state, line.numbers, unwatched()):
        part.update({"frozen": reason, "t": at})
        tell(part)


def unwatched():
    return [name for name in UNWATCHED if name in sys.modules]


def answer():
    """Reads commands and carries them out; False when the collector is gone."""
    while True:
        try:
            data = line.socket.recv(4096)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        if not data:
            return False
        command = json.loads(data.decode())
        obey(table.current(), command["do"], command["key"])


def obey(state, command, key):
    """Carries out one command: snapshot, collect or canary."""
    if command == "collect":
        before = state.collected
        gc.collect()
        flush(state)
        tell({"answer": key, "final": True, "by_gc": state.collected - before})
    elif command == "canary":
        from . import canary

        tell({"answer": key, "final": True, "planted": canary.plant(state)})
    elif command == "snapshot":
        if MODE == "eager":
            gc.collect()
        flush(state)
        for part in messages.of_holders(state, line.numbers, unwatched()):
            part["answer"] = key
            tell(part)
