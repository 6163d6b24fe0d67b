"""2. The cost of observing a real app: Flask behind gunicorn on PostgreSQL, with and without connleak.

"on" is the app with the probe, the collector, and the sampler at ten samples a second; "off" is the app alone. Both
apps run on one server. Short loads alternate between them and are compared in pairs, so that other activity of the
machine affects both. The client is a small asyncio program in a separate process with persistent connections. All
processes, the harness included, share the machine's cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import lab
from connleak.collectors.probe_collector import Collector
from connleak.collectors.sampler import Sampler
from connleak.databases.postgres.connection import run_sql
from connleak.databases.postgres.reader import PostgresReader
from connleak.plan import catalog
from connleak.probe import ENTRY
from connleak.processes.app import answers
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Supervisor, wait_until_ready

CLIENTS = 8


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {pair, way, rate, p50, p99}: the rate in requests a second, the times in milliseconds."""
    pairs, seconds = (200, 1.5) if full else (24, 1.0)
    first = max((row["pair"] for row in have), default=0) + 1
    target = Path(catalog.targets()["missing_remove"].folder)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        supervisor, server = stack.enter_context(lab.server(folder))
        writer = stack.enter_context(lab.writer(folder))
        run_sql(server, target / "schema.sql")
        collector = stack.enter_context(Collector(writer, supervisor.scratch, time.monotonic(), target))
        off = start(supervisor, folder, target, server.environment())
        on = start(
            supervisor, folder, target, {**server.environment(), **collector.environment(), "PYTHONPATH": str(ENTRY)}
        )
        for pair in range(first, first + pairs):
            for way in ("on", "off") if pair % 2 else ("off", "on"):
                with (
                    Sampler(PostgresReader(server, time.monotonic()), writer, time.monotonic(), 0.1)
                    if way == "on"
                    else nullcontext()
                ):
                    times = sorted(drive_apart(on if way == "on" else off, seconds))
                middle, last = statistics.median(times), times[int(0.99 * len(times))]
                yield {"pair": pair, "way": way, "rate": len(times) / seconds, "p50": 1e3 * middle, "p99": 1e3 * last}


def start(supervisor: Supervisor, folder: Path, target: Path, environment: dict[str, str]) -> int:
    """Start the app and warm it up; return its port."""
    port = free_port()
    argv = [
        sys.executable, "-m", "gunicorn", "-w", "2", "-k", "gthread", "--threads", "4", "-b", f"127.0.0.1:{port}",
        "fixed:app",
    ]  # fmt: skip
    app = supervisor.start("the app", argv, cwd=target, env={**os.environ, **environment}, log=folder / f"{port}.log")
    wait_until_ready(supervisor, app, lambda: answers(f"http://127.0.0.1:{port}"), 30)
    drive_apart(port, 2.0)
    return port


def drive_apart(port: int, seconds: float) -> list[float]:
    """Send requests to the app from a separate process, as Locust does; return how long each took."""
    argv = [sys.executable, __file__, str(port), str(seconds)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


async def drive(port: int, seconds: float) -> list[float]:
    """Return how long each request took."""
    times: list[float] = []
    until = time.monotonic() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.monotonic()) < until:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            times.append(time.monotonic() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return times


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(int(sys.argv[1]), float(sys.argv[2])))))
