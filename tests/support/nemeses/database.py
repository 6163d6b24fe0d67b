"""Faults of the database and of the network before it."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psycopg
import psycopg2

from support.nemeses.arena import Arena, Nemesis, TooLate
from support.nemeses.network import Wire, drop, namespace, undrop
from support.nemeses.server import Postgres

NOT_THERE = r"did not answer|the database refused|PostgreSQL (ended|was ended)|to become ready"
SLOW = r"was not read|no sample|aborted at the end|still changing|waited|but needs 5|too long"
LATE = f"{NOT_THERE}|{SLOW}"
MOST = ("baseline", "load", "load", "load", "drain", "rest", "quiet")


def killed(arena: Arena) -> None:
    arena.start_target()
    arena.moment(*MOST)
    arena.kill(arena.postmaster(), signal.SIGKILL)


def restarted(arena: Arena) -> None:
    server = arena.undo.enter_context(Postgres())
    arena.start_target("--postgres", server.address)
    arena.moment(*MOST)
    how = arena.random.choice((signal.SIGINT, signal.SIGQUIT, signal.SIGKILL))
    arena.row.facts["signal"] = how.name
    server.stop(how)
    time.sleep(arena.between(0.0, 2.0, "down"))
    server.start()


def backends_ended(arena: Arena) -> None:
    arena.start_target()
    arena.moment("load")
    for _ in range(arena.random.randint(1, 12)):
        sessions = arena.find(r"postgres: connleak app 127\.0\.0\.1|postgres: app app 127\.0\.0\.1")
        with contextlib.suppress(TooLate):
            arena.kill(arena.random.choice(sessions), signal.SIGTERM)
            arena.row.facts["ended"] = arena.row.facts.get("ended", 0) + 1
        time.sleep(arena.random.uniform(0.0, 0.3))


def backend_killed(arena: Arena) -> None:
    arena.start_target()
    arena.moment("load")
    sessions = arena.find(r"postgres: app app 127\.0\.0\.1")
    arena.kill(arena.random.choice(sessions), signal.SIGKILL)


def full_from_the_first(arena: Arena) -> None:
    server = arena.undo.enter_context(Postgres(max_connections="20"))
    everybody = arena.random.random() < 0.3  # the reserved slots, too
    arena.row.facts["reserved, too"] = everybody
    with server.connect() as connection:
        connection.cursor().execute("CREATE ROLE guest LOGIN SUPERUSER" if everybody else "CREATE ROLE guest LOGIN")
    connection.close()
    guests = []
    with contextlib.suppress(psycopg2.OperationalError):
        while True:
            guests.append(psycopg2.connect(host=str(server.home), port=server.port, user="guest", dbname="app"))
    arena.row.facts["guests"] = len(guests)
    for guest in guests:
        arena.undo.callback(guest.close)
    arena.row.phase = "start"
    arena.start_target("--postgres", server.address)


def hung(arena: Arena) -> None:
    arena.start_target()
    arena.moment(*MOST)
    stopped = arena.servers()
    for process in stopped:
        with contextlib.suppress(TooLate):
            arena.kill(process, signal.SIGSTOP)
    for_good = arena.random.random() < 0.2
    arena.row.facts["for good"] = for_good
    if for_good:
        return
    time.sleep(arena.between(0.3, 6.0))
    for process in stopped:
        with contextlib.suppress(TooLate):
            arena.kill(process, signal.SIGCONT)


def disk_full(arena: Arena) -> None:
    server = arena.undo.enter_context(Postgres(size="96m", max_wal_size="32MB", min_wal_size="32MB"))
    arena.start_target("--postgres", server.address)
    arena.moment("load", "rest")
    filler = server.home / "data" / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(b"x" * (1 << 16))
            file.flush()
    with contextlib.suppress(psycopg.Error), contextlib.closing(server.connect()) as connection:
        connection.cursor().execute("CREATE TABLE more AS SELECT repeat('x', 500) FROM generate_series(1, 200000)")
    arena.row.facts["lives"] = server.process is not None and server.process.poll() is None


def slow_network(arena: Arena) -> None:
    server = arena.undo.enter_context(Postgres())
    wire = arena.undo.enter_context(Wire(server.port))
    arena.start_target("--postgres", server.address.replace(str(server.port), str(wire.port)))
    arena.moment("baseline", "load", "rest")
    wire.delay = arena.between(0.005, 0.15, "delay")


def cut_network(arena: Arena) -> None:
    server = arena.undo.enter_context(Postgres())
    wire = arena.undo.enter_context(Wire(server.port))
    arena.start_target("--postgres", server.address.replace(str(server.port), str(wire.port)))
    arena.moment(*MOST)
    wire.close()
    time.sleep(arena.between(0.0, 3.0))
    wire.open()


def silent_network(arena: Arena) -> None:
    server = arena.undo.enter_context(Postgres())
    wire = arena.undo.enter_context(Wire(server.port))
    arena.start_target("--postgres", server.address.replace(str(server.port), str(wire.port)))
    arena.moment(*MOST)
    wire.silent = True
    time.sleep(arena.between(0.3, 8.0))
    wire.silent = False


def half_open(arena: Arena) -> None:
    name = f"arena-{os.getpid()}-{arena.folder.name[-4:]}"
    inside = arena.undo.enter_context(namespace(name))
    arena.start_target(before=inside)
    arena.moment("load", "rest")
    words = arena.postmaster().cmdline()
    drop(name, int(words[words.index("-p") + 1]))
    for_good = arena.random.random() < 0.5
    arena.row.facts["for good"] = for_good
    if not for_good:
        time.sleep(arena.between(0.3, 5.0))
        undrop(name)


DATABASE = (
    Nemesis("server-killed", "database", "kill -9 of the server's first process", killed, NOT_THERE),
    Nemesis("server-restarted", "database", "a restart: in order, at once, or after kill -9", restarted, NOT_THERE),
    Nemesis(
        "backends-ended",
        "database",
        "one to twelve of the app's sessions are ended on the server",
        backends_ended,
        r"terminat|closed the connection|requests? failed",
        may=("fault",),
    ),
    Nemesis("backend-killed", "database", "kill -9 of one session: the server recovers", backend_killed, NOT_THERE),
    Nemesis(
        "full-from-the-first",
        "database",
        "no connection is free from the first second on",
        full_from_the_first,
        r"too many|reserved|refused|no more connections|remaining connection slots",
    ),
    Nemesis(
        "server-hung",
        "database",
        "SIGSTOP to the whole server, for up to six seconds or for good",
        hung,
        NOT_THERE + "|was not read|no sample|aborted at the end|too long|timed out",
    ),
    Nemesis("server-disk-full", "database", "no room under its data", disk_full, NOT_THERE + "|No space left"),
    Nemesis("network-slow", "database", "each packet takes up to 150 ms more", slow_network, SLOW),
    Nemesis("network-cut", "database", "all lines cut, refused for up to three seconds", cut_network, NOT_THERE),
    Nemesis("network-silent", "database", "nothing passes for up to eight seconds", silent_network, LATE),
    Nemesis(
        "network-half-open", "database", "packets are lost, for a while or for good; without notice", half_open, LATE
    ),
)
