"""3. The cost of a sample on server and client at 10 to 2000 sessions, beside pg_activity 3.6 on the same server.

A separate process keeps the sessions, which are idle. The sampler runs ten times a second in a separate process,
pg_activity twice a second (its fastest) in a pseudo-terminal. CPU is the system's count for the client process and for
its server backend, divided by the samples; memory is the client's resident set. Finally: how many of 200 leaked idle
sessions each tool lists.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import lab
import psutil
import psycopg2
from connleak.databases.server import Server
from connleak.processes.venv import environment

LEVELS = (10, 100, 500, 2000)
OPEN = """
import os, sys, psycopg2
kept = [psycopg2.connect(os.environ["DATABASE_URL"].replace("+psycopg2", "")) for _ in range(int(sys.argv[1]))]
print("ready", flush=True)
sys.stdin.read()
"""
SAMPLER = """
import json, sys, time, pickle, os, psutil
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import lab
from connleak.databases.postgres.reader import PostgresReader
from connleak.collectors.sampler import Sampler
server = pickle.load(sys.stdin.buffer)
origin = time.monotonic()
reader = PostgresReader(server, origin)
with lab.writer(Path(sys.argv[2])) as writer, Sampler(reader, writer, origin, 0.1) as sampler:
    backend = psutil.Process(sampler._reader._connection.info.backend_pid)
    time.sleep(1)
    client, backends, first = time.process_time(), sum(backend.cpu_times()[:2]), sampler.taken
    time.sleep(float(sys.argv[3]))
    samples = sampler.taken - first
    print(json.dumps({
        "client_ms": 1000 * (time.process_time() - client) / samples,
        "server_ms": 1000 * (sum(backend.cpu_times()[:2]) - backends) / samples,
        "memory_mb": psutil.Process().memory_info().rss / 1e6,
        "samples": samples, "listed": len(sampler.latest.backends),
    }))
"""


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {sessions, way, client_ms, server_ms, memory_mb, samples}, costs per sample, and {way, listed, of}."""
    activity = environment("", "pg_activity==3.6.2", "psycopg2-binary").parent / "pg_activity"
    seconds, rounds = (10.0, 3) if full else (5.0, 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, server = stack.enter_context(lab.server(folder, max_connections=max(LEVELS) + 50))
        for _ in range(rounds):
            for level in LEVELS:
                with sessions(server, level):
                    yield {"sessions": level, "way": "connleak", **sampler_row(server, folder, seconds)}
                    yield {"sessions": level, "way": "pg_activity", **activity_row(server, activity, seconds)}
        with sessions(server, 200):
            yield {"way": "connleak", "of": 200, "listed": sampler_row(server, folder, 2.0)["listed"]}
            yield {"way": "pg_activity", "of": 200, "listed": listed(server, activity, folder)}


@contextmanager
def sessions(server: Server, count: int) -> Iterator[None]:
    """Keep idle sessions open."""
    env = {**os.environ, **server.environment()}
    argv = [sys.executable, "-c", OPEN, str(count)]
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout and process.stdout.readline() == "ready\n"
        yield
        process.stdin.close()
    deadline = time.monotonic() + 60
    while count_of(server) and time.monotonic() < deadline:
        time.sleep(0.2)


def count_of(server: Server) -> int:
    connection = psycopg2.connect(**server.admin)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE usename <> current_user AND usename IS NOT NULL")
        (count,) = cursor.fetchone()
    connection.close()
    return int(count)


def sampler_row(server: Server, folder: Path, seconds: float) -> lab.Row:
    import pickle

    argv = [sys.executable, "-c", SAMPLER, str(lab.HERE), str(folder / f"sampler-{time.monotonic()}"), str(seconds)]
    done = subprocess.run(argv, input=pickle.dumps(server), capture_output=True, check=True)
    return dict(json.loads(done.stdout))


@contextmanager
def activity_running(server: Server, program: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run pg_activity in a pseudo-terminal whose output is read and discarded."""
    admin = server.admin
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    argv = [str(program.parent / "python"), str(program), "--refresh", "0.5", "-h", admin["host"], *options]
    argv += ["-p", str(admin.get("port", 5432)), "-U", admin["user"], "-d", admin["dbname"]]
    env = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
    os.close(slave)

    def drain() -> None:
        try:
            while data := os.read(master, 65536):
                for _ in range(data.count(b"\x1b[6n")):  # it requests the cursor's position, and waits for it
                    os.write(master, b"\x1b[1;1R")
        except OSError:
            pass

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        thread.join(2)
        os.close(master)


def activity_row(server: Server, program: Path, seconds: float) -> lab.Row:
    with activity_running(server, program) as process:
        time.sleep(3)
        client = psutil.Process(process.pid)
        backends = [psutil.Process(pid) for pid in backends_named(server, "pg_activity")]
        assert backends, "pg_activity has no session"

        def spent() -> tuple[float, float]:
            return sum(client.cpu_times()[:2]), sum(sum(backend.cpu_times()[:2]) for backend in backends)

        before, began = spent(), time.monotonic()
        time.sleep(2 * seconds)
        after, samples = spent(), (time.monotonic() - began) / 0.5
        return {
            "client_ms": 1000 * (after[0] - before[0]) / samples,
            "server_ms": 1000 * (after[1] - before[1]) / samples,
            "memory_mb": client.memory_info().rss / 1e6,
            "samples": round(samples),
        }


def backends_named(server: Server, name: str) -> list[int]:
    connection = psycopg2.connect(**server.admin)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [name])
        found = [pid for (pid,) in cursor.fetchall()]
    connection.close()
    return found


def listed(server: Server, program: Path, folder: Path) -> int:
    """Return the number of sessions that pg_activity writes into its file."""
    path = folder / "activity.csv"
    with activity_running(server, program, "--output", str(path)):
        time.sleep(4)
    if not path.exists():
        return 0
    with path.open() as file:
        return len({row["pid"] for row in csv.DictReader(file, delimiter=";") if row.get("user") != "connleak"})
