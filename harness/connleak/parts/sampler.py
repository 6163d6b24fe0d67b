"""Reads the server's sessions ten times a second and writes what changed; keeps on when everyone else is refused."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import psycopg2

from connleak import sql
from connleak.model import Backend, Note, Sample
from connleak.parts.databases import Server
from connleak.parts.databases.postgres import connect
from connleak.recording import FULL_EVERY, SampleLine, Writer

COUNTERS_EVERY = 1.0
GAP = 1.0
"""A pause between two samples longer than this (and than five periods) is noted."""
OVERLAP = 0.5
"""Seconds of changes that are read twice: a session writes its row a moment after it has looked at the clock."""
STATEMENT_TIMEOUT = "2s"


class Sampler:
    """Samples in a thread of its own until it is closed; `latest` is the newest sample."""

    def __init__(
        self,
        server: Server,
        writer: Writer,
        origin: float,
        every: float,
        belongs: Callable[[Backend], bool] | None = None,
    ) -> None:
        self._server = server
        self._writer = writer
        self._origin = origin
        self._every = every
        self._belongs = belongs
        self._offset: float | None = None
        self._stored: dict[int, Backend] = {}
        self._known: dict[int, Backend] = {}
        self._since: float | None = None
        self._full_at = -FULL_EVERY
        self._counted_at = -COUNTERS_EVERY
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.latest = Sample(0.0, ())
        self.taken = 0
        self.cost = 0.0
        self.others: Counter[str] = Counter()

    def __enter__(self) -> Sampler:
        self._connection: Any = self._connect()
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()
        facts = {"samples": self.taken, "seconds": round(self.cost, 4), "others": dict(self.others)}
        mean = 1000 * self.cost / max(1, self.taken)
        self._writer.append("notes", Note(self._now(), "sampler", f"{self.taken} samples, {mean:.1f} ms each", facts))

    def _connect(self) -> Any:
        connection = connect(self._server.admin, self._server.admin["dbname"])
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = %s", [STATEMENT_TIMEOUT])
            if connection.server_version >= 140000:
                cursor.execute("SET default_transaction_read_only = on")
        return connection

    def _now(self) -> float:
        return round(time.monotonic() - self._origin, 4)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            due = max(due + self._every, time.monotonic())
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            before = self.latest.t
            try:
                self._sample()
            except psycopg2.Error as error:
                self._reconnect(error)
            if self.latest.t - before > max(GAP, 5 * self._every):
                self._writer.append(
                    "notes",
                    Note(
                        before,
                        "sampler",
                        f"no sample for {self.latest.t - before:.1f} s",
                        {"gap": round(self.latest.t - before, 3)},
                    ),
                )

    def _reconnect(self, error: Exception) -> None:
        """Tries until the server answers again or we are closed."""
        text = str(error).strip().splitlines()
        self._writer.append(
            "notes", Note(self._now(), "database", f"the server did not answer: {text[0] if text else error}")
        )
        while not self._stop.wait(self._every):
            try:
                self._connection.close()
                self._connection = self._connect()
                self._since = None
                self._sample()
                return
            except psycopg2.Error:
                continue

    def _sample(self) -> None:
        began = time.monotonic()
        full = self._since is None or began - self._origin - self._full_at >= FULL_EVERY
        with self._connection.cursor() as cursor:
            cursor.execute(sql.load("activity_postgres"), {"since": None if full else self._since})
            rows = cursor.fetchall()
            answered = time.monotonic()
            counters, locks = self._once_a_second(cursor, answered)
        server_began, server_now, pids = rows[0][:3]
        self._follow_clock(server_now, (began + answered) / 2)
        known = {} if full else self._known
        known.update((row[3], self._backend(row[3:])) for row in rows if row[3] is not None)
        for pid in known.keys() - set(pids):
            del known[pid]
        self._known = known
        # one whose begin was not yet written when its row was read is missing: then the next reading is of all
        self._since = server_began - OVERLAP if len(known) == len(pids) else None
        backends = tuple(self._ours(known.values()))
        sample = Sample(round((began + answered) / 2 - self._origin, 4), backends, counters)
        line = SampleLine(t=sample.t, counters=counters, locks=locks)
        self._store(sample, line, began, full, {row[3] for row in rows})

    def _once_a_second(self, cursor: Any, now: float) -> tuple[dict[str, float], tuple[int, ...] | None]:
        """Returns the database's counters and the sessions with an advisory lock; nothing when they are fresh."""
        if now - self._counted_at < COUNTERS_EVERY:
            return {}, None
        self._counted_at = now
        cursor.execute(sql.load("locks_postgres"))
        locks = tuple(sorted(pid for (pid,) in cursor.fetchall()))
        if self._connection.server_version < 140000:
            return {}, locks
        cursor.execute(sql.load("counters_postgres_14"))
        names = [column.name for column in cursor.description]
        return {name: float(value or 0) for name, value in zip(names, cursor.fetchone(), strict=True)}, locks

    def _follow_clock(self, server_now: float, local_now: float) -> None:
        """Keeps one offset between the clocks, so that the same instant always gets the same number."""
        offset = local_now - self._origin - server_now
        if self._offset is None:
            self._offset = offset
        elif abs(offset - self._offset) > 0.25:
            self._writer.append(
                "notes",
                Note(
                    self._now(),
                    "database",
                    f"the server's clock jumped by {self._offset - offset:+.2f} s",
                    {"clock": round(self._offset - offset, 3)},
                ),
            )
            self._offset = offset

    def _backend(self, row: tuple[Any, ...]) -> Backend:
        pid, started, name, port, state, state_since, xact_since, wait_event, query, usename = row
        return Backend(
            pid,
            self._time(started) or 0.0,
            name or "",
            port,
            state,
            self._time(state_since),
            self._time(xact_since),
            wait_event,
            query or "",
            usename,
        )

    def _time(self, epoch: float | None) -> float | None:
        return None if epoch is None else round(epoch + (self._offset or 0.0), 3)

    def _ours(self, backends: Collection[Backend]) -> Collection[Backend]:
        """Returns the app's sessions; those of others are counted by name."""
        if self._belongs is None:
            return backends
        ours = []
        for backend in backends:
            if self._belongs(backend):
                ours.append(backend)
            else:
                name = backend.application_name or f"(no name, user {backend.usename})"
                self.others[name] = max(self.others[name], 1)
        return ours

    def _store(self, sample: Sample, line: SampleLine, began: float, full: bool, touched: set[int | None]) -> None:
        """Writes what changed among the sessions that were read again; all of them when `full`."""
        now = {backend.pid: backend for backend in sample.backends}
        if full:
            self._full_at = sample.t
            line = msgspec.structs.replace(line, full=True, rows=sample.backends)
        else:
            candidates = now.keys() & (touched | (now.keys() - self._stored.keys()))
            changed = tuple(now[pid] for pid in sorted(candidates) if self._stored.get(pid) != now[pid])
            gone = tuple(self._stored.keys() - now.keys())
            line = msgspec.structs.replace(line, rows=changed, gone=gone)
        cost = time.monotonic() - began
        self._writer.append("samples", msgspec.structs.replace(line, cost=round(cost, 5)))
        self._stored = now
        self.latest = sample
        self.taken += 1
        self.cost += cost
