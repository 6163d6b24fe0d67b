"""The sessions of a PostgreSQL database; each reading fetches only those that changed since the previous one."""

from __future__ import annotations

import codecs
import contextlib
import time
from typing import Any

import psycopg

from connleak.databases.postgres import sql
from connleak.databases.postgres.connection import connect
from connleak.databases.server import NotAnswering, Reading, Server
from connleak.model.recording import Backend

COUNTERS_EVERY = 1.0
"""Seconds between two readings of counters and locks."""
OVERLAP = 0.5
"""Seconds of changes that are read twice: a session writes its row a moment after it has read the clock."""
STATEMENT_TIMEOUT = "2s"
JUMP = 0.25
"""Seconds by which the server's clock must move, besides the uncertainty of a reading, to count as a jump."""
RAW = "SQL_ASCII"
"""The client encoding for which the server neither converts nor checks text."""
LONGEST_QUERY = 200
"""Characters of a session's query that are recorded."""
CODECS = {"SQL_ASCII": "utf-8", "KOI8R": "koi8_r", "KOI8U": "koi8_u"}
"""Python's names of server encodings, where they differ."""


class PostgresReader:
    """A reader with one read-only connection with the sampler's rights."""

    def __init__(self, server: Server, origin: float) -> None:
        self._server = server
        self._origin = origin
        self._offset: float | None = None
        self._known: dict[int, Backend] = {}
        self._since: float | None = None
        self._counted_at = -COUNTERS_EVERY
        self._connection: psycopg.Connection[Any] | None = None
        self._codec = "utf-8"

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def read(self, *, full: bool) -> Reading:
        """Return the sessions of the server's database; raise NotAnswering."""
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._since = None
            return self._read(self._connection, full or self._since is None)
        except psycopg.Error as error:
            self.close()
            raise NotAnswering(str(error).strip().partition("\n")[0] or repr(error)) from error

    def _connect(self) -> psycopg.Connection[Any]:
        connection = connect(self._server.admin, self._server.admin["dbname"], RAW)
        connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        if connection.info.server_version >= 140000:
            connection.execute("SET default_transaction_read_only = on")
        self._codec = codec_of(connection.info.parameter_status("server_encoding") or "")
        return connection

    def _read(self, connection: psycopg.Connection[Any], full: bool) -> Reading:
        began = time.monotonic()
        with connection.cursor(binary=True) as cursor:
            # on a server that this run started, the sessions in all its databases are the app's
            parameters = {"since": None if full else self._since, "everywhere": self._server.own_server}
            cursor.execute(sql.load("activity_postgres"), parameters)
            rows = cursor.fetchall()
            answered = time.monotonic()
            counters, locks = self._once_a_second(cursor, answered)
        server_began, server_now, pids = rows[0][:3]
        jump = self._follow_clock(server_now, (began + answered) / 2, answered - began)
        known = {} if full else self._known
        known.update((row[3], self._backend(row[3:])) for row in rows if row[3] is not None)
        for pid in known.keys() - set(pids):
            del known[pid]
        self._known = known
        # a session that had not yet written its start when its row was read is missing: then the next reading is full
        self._since = server_began - OVERLAP if len(known) == len(pids) else None
        changed = None if full else frozenset(row[3] for row in rows if row[3] is not None)
        return Reading((began + answered) / 2, known, changed, counters, locks, jump)

    def _once_a_second(self, cursor: Any, now: float) -> tuple[dict[str, float], tuple[int, ...] | None]:
        """Return the database's counters and the sessions with an advisory lock, at most once a second."""
        if now - self._counted_at < COUNTERS_EVERY:
            return {}, None
        self._counted_at = now
        cursor.execute(sql.load("locks_postgres"))
        locks = tuple(sorted(pid for (pid,) in cursor.fetchall()))
        if cursor.connection.info.server_version < 140000:
            return {}, locks
        cursor.execute(sql.load("counters_postgres_14"))
        names = [column.name for column in cursor.description]
        return {name: float(value or 0) for name, value in zip(names, cursor.fetchone(), strict=True)}, locks

    def _follow_clock(self, server_now: float, local_now: float, took: float) -> float:
        """Return the jump of the server's clock, 0 without one, and update the offset between the clocks after a jump.

        Between jumps the offset is constant, so that one instant always maps to the same time. The server read its
        clock at an unknown moment of the reading, which takes `took` seconds.
        """
        offset = local_now - self._origin - server_now
        if self._offset is None:
            self._offset = offset
        elif abs(offset - self._offset) > JUMP + took / 2:
            jump, self._offset = self._offset - offset, offset
            return jump
        return 0.0

    def _backend(self, row: tuple[Any, ...]) -> Backend:
        pid, started, name, port, state, state_since, xact_since, wait_event, query, usename = row
        return Backend(
            pid,
            self._time(started) or 0.0,
            self._text(name) or "",
            None if self._server.proxied else port,
            self._text(state),
            self._time(state_since),
            self._time(xact_since),
            self._text(wait_event),
            (self._text(query) or "")[:LONGEST_QUERY],
            self._text(usename),
        )

    def _text(self, raw: bytes | None) -> str | None:
        """Return the text of a column, whose encoding is uncertain: databases of one server may have different ones."""
        return None if raw is None else raw.decode(self._codec, "replace")

    def _time(self, epoch: float | None) -> float | None:
        return None if epoch is None else round(epoch + (self._offset or 0.0), 3)


def codec_of(encoding: str) -> str:
    """Return Python's name of a server's encoding, or utf-8 if Python does not have it."""
    try:
        return codecs.lookup(CODECS.get(encoding, encoding.replace("WIN", "cp"))).name
    except LookupError:
        return "utf-8"
