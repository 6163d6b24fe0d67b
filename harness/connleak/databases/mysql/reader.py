"""The sessions of a MySQL or MariaDB database."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from connleak.databases.mysql.connection import pymysql
from connleak.databases.server import NotAnswering, Reading, Server
from connleak.model.recording import Backend

COUNTERS_EVERY = 1.0
"""Seconds between two readings of the counters."""
TRANSACTIONS_EVERY = 0.25
"""Seconds between two readings of INNODB_TRX: the server refreshes it only after 0.1 s without a reading."""
SESSIONS = """
SELECT ID, HOST, COMMAND, INFO, USER FROM information_schema.PROCESSLIST
 WHERE DB = %s AND ID <> CONNECTION_ID()
"""
TRANSACTIONS = "SELECT trx_mysql_thread_id, trx_id, trx_started FROM information_schema.INNODB_TRX"
DENIED = 1227
"""ER_SPECIFIC_ACCESS_DENIED_ERROR."""
LONGEST_QUERY = 200
"""Characters of a session's query that are recorded."""


class MysqlReader:
    """A reader with one autocommit connection; a session or transaction begins when a reading first shows it.

    PROCESSLIST has no start of a session, and INNODB_TRX has whole seconds. The last query of a sleeping session is
    not available either.
    """

    def __init__(self, server: Server, origin: float) -> None:
        self._admin = server.admin
        self._origin = origin
        self._connection: Any = None
        self._known: dict[int, Backend] = {}
        self._transactions: dict[int, tuple[str, float]] = {}
        self._transactions_at = -TRANSACTIONS_EVERY
        self._counted_at = -COUNTERS_EVERY
        self._blind = False

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None

    def read(self, *, full: bool) -> Reading:
        """Return the sessions in the app's database; raise NotAnswering."""
        try:
            if self._connection is None:
                self._connection = pymysql().connect(**self._admin, autocommit=True, read_timeout=2)
            began = time.monotonic()
            with self._connection.cursor() as cursor:
                cursor.execute(SESSIONS, [self._admin["database"]])
                rows = cursor.fetchall()
                t = (began + time.monotonic()) / 2
                self._read_transactions(cursor, t)
                counters = self._once_a_second(cursor, t)
        except pymysql().MySQLError as error:
            self.close()
            raise NotAnswering(str(error)) from error
        self._known = {row[0]: self._backend(row, round(t - self._origin, 3)) for row in rows}
        return Reading(t, self._known, None if full else frozenset(self._known), counters)

    def _read_transactions(self, cursor: Any, now: float) -> None:
        """Update the open transactions and when each was first seen."""
        if self._blind or now - self._transactions_at < TRANSACTIONS_EVERY:
            return
        self._transactions_at = now
        try:
            cursor.execute(TRANSACTIONS)
        except pymysql().OperationalError as error:
            if error.args[0] != DENIED:
                raise
            self._blind = True  # this user may not read INNODB_TRX
            return
        before, t = self._transactions, round(now - self._origin, 3)
        self._transactions = {}
        for pid, number, started in cursor.fetchall():
            key = f"{number} {started}"
            known = before.get(pid)
            self._transactions[pid] = known if known is not None and known[0] == key else (key, t)

    def _once_a_second(self, cursor: Any, now: float) -> dict[str, float]:
        """Return the server's counters, at most once a second."""
        if now - self._counted_at < COUNTERS_EVERY:
            return {}
        self._counted_at = now
        cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN ('Connections', 'Aborted_clients')")
        found = {name: float(value) for name, value in cursor.fetchall()}
        return {"sessions": found.get("Connections", 0.0), "sessions_abandoned": found.get("Aborted_clients", 0.0)}

    def _backend(self, row: tuple[Any, ...], t: float) -> Backend:
        pid, host, command, query, user = row
        before = self._known.get(pid)
        _, since = self._transactions.get(pid, ("", None))
        state: str | None = "active" if command != "Sleep" else "idle in transaction" if since is not None else "idle"
        if self._blind and state == "idle":
            state = None
        return Backend(
            pid,
            before.started if before else t,
            "",
            int(host.rpartition(":")[2]) if ":" in host else None,
            state,
            before.state_since if before and before.state == state else t,
            since,
            None,
            (query or "")[:LONGEST_QUERY] or (before.query if before else ""),
            user,
        )
