"""Scripts with the probe in real processes, and the collector that receives their messages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg2
from connleak.collectors.probe_collector import Collector
from connleak.databases.server import Server
from connleak.model.recording import Event, Holder, Snapshot
from connleak.probe import ENTRY
from connleak.processes.supervisor import Supervisor
from connleak.recording.reader import read
from connleak.recording.writer import Writer

from support.poll import wait_until


class Lab:
    """Scripts with the probe, and the collector that receives their messages."""

    def __init__(self, server: Server, writer: Writer, supervisor: Supervisor, folder: Path, stack: ExitStack) -> None:
        self.server = server
        self.writer = writer
        self.folder = folder
        self.stack = stack
        self.collector = stack.enter_context(Collector(writer, supervisor.scratch, time.monotonic(), folder))

    def start(self, script: str, *, env: dict[str, str] | None = None, python: tuple[str, ...] = (sys.executable,)):
        """Start a script that ends at the end of its standard input; return once it has printed `ready`."""
        head = "import os, sys, time, threading, gc\nURL = os.environ['DATABASE_URL']\n"
        tail = "\nprint('ready', flush=True)\nsys.stdin.read()\n"
        (self.folder / "app.py").write_text(head + textwrap.dedent(script) + tail)
        environment = {
            **os.environ,
            **self.server.environment(),
            **self.collector.environment(),
            "PYTHONPATH": str(ENTRY),
            "PYTHONWARNINGS": "error",
            **(env or {}),
        }
        process = subprocess.Popen(
            [*python, "app.py"],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.stack.callback(self.end, process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdout.close()

    def snapshot(self) -> Snapshot:
        return self.collector.snapshot("test", 1)

    def holders(self, count: int) -> list[Holder]:
        wait_until(lambda: len(self.snapshot().holders) == count, f"{count} holders")
        return list(self.snapshot().holders)

    def events(self, kind: str, count: int) -> list[Event]:
        def found() -> list[Event]:
            return [event for event in read(self.writer.folder).events if event.kind == kind]

        wait_until(lambda: len(found()) >= count, f"{count} {kind} events")
        return found()

    def line(self, mark: str) -> int:
        lines = (self.folder / "app.py").read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if f"# {mark}" in line)


def backends(server: Server) -> set[int]:
    connection = psycopg2.connect(server.url())
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
            " AND pid <> pg_backend_pid()"
        )
        found = {pid for (pid,) in cursor.fetchall()}
    connection.close()
    return found
