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

from . import drivers, frames, holders, table
from .table import get_ident, getpid, monotonic

EVERY = 0.1
OVERDUE = 0.5
"""Without a thread that sends, an event does it, when the last sending is longer ago than this."""
BATCH = 300
UNWATCHED = ("MySQLdb", "pg8000", "aiomysql", "pgdb", "psycopg2cffi")

# kept from before gevent or eventlet replace them
start_new_thread = _thread.start_new_thread
allocate_lock = _thread.allocate_lock
poll = getattr(select, "poll", None)
write = os.write


class Line:
    """The line to the collector, of one process."""

    def __init__(self):
        self.pid = getpid()
        self.socket = None
        self.stacks = {}
        self.new_stacks = {}
        self.running = False
        self.armed = False
        self.alone = False
        self.sent_at = 0.0
        self.last_counts = None
        self.lock = allocate_lock()
        self.ended = allocate_lock()
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
        line.sent_at = monotonic()
        line.alone = no_threads()
        _start()


def no_threads():
    """Tells whether between requests no thread of Python's runs here: uWSGI keeps the interpreter's lock then."""
    uwsgi = sys.modules.get("uwsgi")
    options = getattr(uwsgi, "opt", None)
    return options is not None and not any(name in options for name in ("enable-threads", "threads"))


def _start():
    line.running = True
    line.wake = os.pipe()
    line.ended = allocate_lock()
    line.ended.acquire()
    start_new_thread(_run, (line,))


def pause():
    """Before a fork: ends our thread, for a fork of several threads is warned of from Python 3.12 on."""
    if line.running and line.pid == getpid():
        line.running = False
        write(line.wake[1], b".")
        line.ended.acquire(True, 0.2)


def resume():
    """After a fork, in the parent: goes on."""
    if line.armed and not line.running:
        for end in line.wake or ():
            os.close(end)
        _start()


def _run(mine):
    try:
        waiter = poll()
        waiter.register(mine.socket.fileno(), select.POLLIN)
        waiter.register(mine.wake[0], select.POLLIN)
        while mine.running and mine.pid == getpid():
            waiter.poll(EVERY * 1000)
            if mine.running and not work():
                break
    except Exception:
        pass
    finally:
        mine.ended.release()


def tick():
    """At an event: does the thread's work where the thread does not get to it."""
    if line.alone or monotonic() - line.sent_at > OVERDUE:
        if line.armed:
            work()
        else:
            arm()


def work():
    """Sends what waits and answers what was asked; False when the collector is gone."""
    if not line.lock.acquire(False):
        return True
    try:
        drivers.sweep(table.state)
        flush(table.current())
        return answer()
    except Exception:
        return True
    finally:
        line.sent_at = monotonic()
        line.lock.release()


def send(message):
    """Sends one message at once; False when the collector does not keep up or is gone."""
    try:
        line.socket.send(json.dumps(message, default=str).encode("utf-8", "replace"))
    except OSError:
        return False
    return True


def flush(state):
    """Sends the waiting events in batches, with the counts of this moment."""
    while True:
        batch = []
        while state.events and len(batch) < BATCH:
            batch.append(state.events.popleft())
        counts = (len(state.checkouts), len(state.waiting), state.dropped)
        if not batch and counts == line.last_counts:
            return
        rows = [row_of(event) for event in batch]
        message = {
            "process": state.pid,
            "events": rows,
            "stacks": line.new_stacks,
            "out": counts[0],
            "waiting": counts[1],
            "dropped": counts[2],
            "alone": line.alone,
        }
        if not send(message):
            state.events.extendleft(reversed(batch))
            return
        line.new_stacks = {}
        line.last_counts = counts
        if not batch:
            return


def row_of(event):
    """Returns an event for sending. The two that come with every request are short:

    [t, "checkout", number, thread, backend, pool, stack, request] and [t, "checkin" or "collected", number];
    all others are [t, kind, facts].
    """
    at, kind, facts = event
    if kind == "checkout":
        connection = facts.connection
        row = [
            at,
            kind,
            facts.number,
            facts.ident,
            connection.backend,
            facts.pool,
            stack_number(facts.frames),
            facts.request,
        ]
        if connection.process != table.state.pid:
            row.append("opened in process %d" % connection.process)
        return row
    if kind == "checkin" or kind == "collected":
        return [at, kind, facts.number]
    facts = dict(facts)
    facts.setdefault("thread", get_ident())
    if "frames" in facts:
        facts["at"] = stack_number(facts.pop("frames"))
    return [at, kind, facts]


def stack_number(found):
    """Returns the number of a stack in this process; a new one goes out with the next message."""
    if not found:
        return -1
    if len(found) == 2:
        key = (id(found[0]), found[1])
    elif len(found) == 4:
        key = (id(found[0]), found[1], id(found[2]), found[3])
    else:
        key = (id(found[0]), found[1], id(found[2]), found[3], id(found[4]), found[5])
    entry = line.stacks.get(key)
    if entry is None:
        entry = line.stacks[key] = (len(line.stacks), found)  # `found` keeps the code objects, so ids stay theirs
        line.new_stacks[entry[0]] = frames.resolve(found)
    return entry[0]


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
        if command["do"] == "collect":
            before = table.state.collected
            found = gc.collect()
            flush(table.current())
            send(
                {
                    "process": getpid(),
                    "answer": command["key"],
                    "final": True,
                    "collected": table.state.collected - before,
                    "found": found,
                }
            )
        elif command["do"] == "snapshot":
            snapshot(table.current(), command["key"])


def snapshot(state, key):
    """Sends the holder table: every checkout that is out, every pool with its idle sessions."""
    rows = holders.rows(state, stack_number)
    parts = [rows[start : start + 100] for start in range(0, len(rows), 100)] or [[]]
    for part in parts:
        send(
            {
                "process": state.pid,
                "answer": key,
                "rows": part,
                "stacks": line.new_stacks,
                "dropped": state.dropped,
                "unwatched": [name for name in UNWATCHED if name in sys.modules],
                "final": part is parts[-1],
            }
        )
        line.new_stacks = {}
