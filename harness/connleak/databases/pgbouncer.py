"""PgBouncer in front of a local PostgreSQL, read on both sides: its clients are the app's sessions.

A client is numbered by its port: the pooler makes up the pid that the driver gets.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from connleak.databases.postgres import connection, sources
from connleak.databases.postgres.libpq import without_environment
from connleak.databases.postgres.local import local_postgres
from connleak.databases.postgres.reader import PostgresReader
from connleak.databases.server import NotAnswering, Reading, Server
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import Backend
from connleak.processes.accounts import give, server_account, write_private
from connleak.processes.local_server import local_server, server_folder
from connleak.processes.supervisor import Supervisor

SETTINGS = {"pool_mode": "transaction", "default_pool_size": "5", "query_wait_timeout": "5", "max_client_conn": "100"}
"""Default settings; a target may set others."""


def find_pgbouncer() -> str:
    """Return the path of the program; raise Error with the package to install."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Error("PgBouncer is not installed on this system", "apt-get install pgbouncer", exit_code=4)
    return program


def check_programs() -> None:
    """Raise Error with the package to install when PostgreSQL or PgBouncer is missing."""
    sources.first_working_source(sources.PROGRAMS, fetch=False)
    find_pgbouncer()


@contextlib.contextmanager
def local_pgbouncer(supervisor: Supervisor, plan: Plan, logs: Path) -> Iterator[Server]:
    """Start PostgreSQL, and PgBouncer in front of it; yield the pooler as the app's server."""
    program = find_pgbouncer()
    plan, notes = sources.with_source(plan, sources.PROGRAMS)
    with local_postgres(supervisor, plan, logs) as behind:
        account = server_account()
        folder = server_folder(supervisor, "bouncer", account)
        settings = {**SETTINGS, "max_client_conn": str(plan.database.max_connections), **plan.database.settings}
        write_private(folder / "users.txt", f'"{behind.user}" "{behind.password}"\n')
        give(account, folder / "users.txt", folder)

        def command(port: int) -> list[str]:
            path = folder / f"pgbouncer-{port}.ini"
            write_private(path, configuration(folder, behind, port, settings))
            give(account, path)
            return [program, str(path)]

        def console(port: int) -> dict[str, Any]:
            user = {"user": behind.user, "password": behind.password}
            return without_environment({"host": "127.0.0.1", "port": port, **user})

        with local_server(
            supervisor,
            "PgBouncer",
            command,
            lambda port: accepts(console(port)),
            folder=folder,
            log=logs / "pgbouncer.log",
            timeout=15,
            stop_signal=signal.SIGINT,
            account=account,
        ) as port:
            limit = int(settings["max_client_conn"])
            yield replace(pooler_of(behind, port, limit), admin=console(port), notes=notes)


def pooler_of(behind: Server, port: int, max_connections: int) -> Server:
    """Return the pooler on a port of loopback as the app's server: with the role and the database behind it."""
    return replace(
        behind,
        kind="pgbouncer",
        version=f"{behind.version} behind PgBouncer",
        max_connections=max_connections,
        reserved=0,
        host="127.0.0.1",
        port=port,
        behind=behind,
    )


def configuration(folder: Path, behind: Server, port: int, settings: dict[str, str]) -> str:
    """Return the text of pgbouncer.ini."""
    lines = [
        "[databases]",
        f"{behind.dbname} = host=127.0.0.1 port={behind.port} dbname={behind.dbname}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "auth_type = scram-sha-256",
        "unix_socket_dir =",
        f"auth_file = {folder / 'users.txt'}",
        f"stats_users = {behind.user}",
        "ignore_startup_parameters = extra_float_digits",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def run_sql(server: Server, path: Path) -> None:
    """Run an SQL file as the app's role on the server behind the pooler; raise Error with the server's message."""
    assert server.behind is not None
    connection.run_sql(server.behind, path)


def accepts(console: dict[str, Any]) -> bool:
    """Return whether the pooler lets the user into its console."""
    try:
        connection.connect(console, "pgbouncer").close()
    except psycopg.Error:
        return False
    return True


class PgbouncerReader:
    """A reader of the pooler's clients, each with the state of the server session that it is linked to.

    A client without a server session is idle or waiting; the server sessions are counted separately.
    """

    def __init__(self, server: Server, origin: float) -> None:
        assert server.behind is not None
        self._server = server
        self._origin = origin
        self._behind = PostgresReader(server.behind, origin)
        self._console: Any = None
        self._known: dict[int, Backend] = {}

    def close(self) -> None:
        self._behind.close()
        if self._console is not None:
            with contextlib.suppress(psycopg.Error):
                self._console.close()
            self._console = None

    def read(self, *, full: bool) -> Reading:
        """Return the pooler's clients; raise NotAnswering when the pooler or the server does not answer."""
        reading = self._behind.read(full=True)
        try:
            if self._console is None:
                self._console = connection.connect(self._server.admin, "pgbouncer")
            clients, servers = self._show("CLIENTS"), self._show("SERVERS")
        except psycopg.Error as error:
            self.close()
            raise NotAnswering(str(error).strip()) from error
        now = round(time.monotonic() - self._origin, 3)
        pids = {row["ptr"]: row["remote_pid"] for row in servers}
        known = {}
        for row in clients:
            if row["database"] == self._server.dbname:
                known[row["port"]] = self._client(row, reading.backends.get(pids.get(row["link"], 0)), now)
        self._known = known
        counters = {**reading.counters, "server_sessions": float(len(reading.backends))}
        counters.pop("sessions", None)  # of the server's sessions, not of the clients
        return Reading(
            reading.t, known, None if full else frozenset(known), counters, reading.locks, reading.clock_jump
        )

    def _show(self, table: str) -> list[dict[str, Any]]:
        with self._console.cursor() as cursor:
            cursor.execute(f"SHOW {table}")
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _client(self, row: dict[str, Any], linked: Backend | None, now: float) -> Backend:
        before = self._known.get(row["port"])
        started = before.started if before else now
        if linked is not None:
            return msgspec.structs.replace(linked, pid=row["port"], started=started, client_port=row["port"])
        state = "waiting" if row["state"] == "waiting" else "idle"
        since = before.state_since if before and before.state == state else now
        return Backend(row["port"], started, "", row["port"], state, since, usename=row["user"])
