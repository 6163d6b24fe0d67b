"""PgBouncer before a PostgreSQL of ours, read on both sides: its clients are the app's sessions.

A client's number is its port: what the driver calls the backend's pid is made up by the pooler.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from msgspec.structs import replace

from connleak.databases import sources
from connleak.databases.accounts import give, server_account, server_folder, write_private
from connleak.databases.postgres.libpq import undone
from connleak.databases.postgres.local import connect, own_server, with_source
from connleak.databases.postgres.reader import PostgresReader
from connleak.databases.server import NotAnswering, Reading, Server
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import Backend
from connleak.processes.supervisor import Keeper, free_port, wait_until_ready

SETTINGS = {"pool_mode": "transaction", "default_pool_size": "5", "query_wait_timeout": "5", "max_client_conn": "100"}
"""What it is started with where a target says nothing else."""


def find_pgbouncer() -> str:
    """Returns the path of the program; raises Error with what to install."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Error("PgBouncer is not installed on this system", "apt-get install pgbouncer", exit_code=4)
    return program


@contextlib.contextmanager
def own_pgbouncer(keeper: Keeper, plan: Plan, logs: Path) -> Iterator[Server]:
    """Starts PostgreSQL and PgBouncer before it; the app gets the pooler's address."""
    program = find_pgbouncer()
    plan, notes = with_source(plan, sources.PROGRAMS)
    with own_server(keeper, plan, logs) as behind:
        account = server_account()
        folder = server_folder(keeper, "bouncer", account)
        port = free_port()
        settings = {**SETTINGS, "max_client_conn": str(plan.database.max_connections), **plan.database.settings}
        write_configuration(folder, behind, port, settings)
        give(account, *folder.iterdir(), folder)
        child = keeper.start(
            "PgBouncer",
            [program, str(folder / "pgbouncer.ini")],
            cwd=folder,
            env={"PATH": os.defpath},
            log=logs / "pgbouncer.log",
            stop_signal=signal.SIGINT,
            account=(account.uid, account.gid) if account else None,
        )
        console = undone({"host": "127.0.0.1", "port": port, "user": behind.user, "password": behind.password})
        try:
            wait_until_ready(keeper, child, lambda: answers(console), timeout=15)
            keeper.need(child)
            yield Server(
                kind="pgbouncer",
                source=behind.source,
                version=f"{behind.version} behind PgBouncer",
                max_connections=int(settings["max_client_conn"]),
                reserved=0,
                host="127.0.0.1",
                port=port,
                user=behind.user,
                password=behind.password,
                dbname=behind.dbname,
                admin=console,
                ours=True,
                own_database=True,
                behind=behind,
                notes=notes,
            )
        finally:
            keeper.stop(child)


def write_configuration(folder: Path, behind: Server, port: int, settings: dict[str, str]) -> None:
    """Writes pgbouncer.ini and its list of users, readable by the server's account alone."""
    write_private(folder / "users.txt", f'"{behind.user}" "{behind.password}"\n')
    lines = [
        "[databases]",
        f"{behind.dbname} = host=127.0.0.1 port={behind.port} dbname={behind.dbname}",
        "[pgbouncer]",
    ]
    lines += ["listen_addr = 127.0.0.1", f"listen_port = {port}", "auth_type = scram-sha-256", "unix_socket_dir ="]
    lines += [f"auth_file = {folder / 'users.txt'}", f"stats_users = {behind.user}"]
    lines += [
        "ignore_startup_parameters = extra_float_digits",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    write_private(folder / "pgbouncer.ini", "\n".join(lines) + "\n")


def answers(console: dict[str, Any]) -> bool:
    try:
        connect(console, "pgbouncer").close()
    except psycopg.Error:
        return False
    return True


class PgbouncerReader:
    """The pooler's clients, each with the state of the server session that it is linked to now.

    A client without one is idle for PostgreSQL, whatever it thinks; the sessions there are counted beside it.
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
        """Returns the pooler's clients; raises NotAnswering when it or the server does not answer."""
        reading = self._behind.read(full=True)
        try:
            if self._console is None:
                self._console = connect(self._server.admin, "pgbouncer")
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
        counters.pop("sessions", None)  # the server's count, not the clients'
        return Reading(
            reading.t, known, None if full else frozenset(known), counters, reading.locks, reading.clock_jump
        )

    def _show(self, what: str) -> list[dict[str, Any]]:
        with self._console.cursor() as cursor:
            cursor.execute(f"SHOW {what}")
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _client(self, row: dict[str, Any], linked: Backend | None, now: float) -> Backend:
        before = self._known.get(row["port"])
        started = before.started if before else now
        if linked is not None:
            return replace(linked, pid=row["port"], started=started, client_port=row["port"])
        state = "waiting" if row["state"] == "waiting" else "idle"
        since = before.state_since if before and before.state == state else now
        return Backend(row["port"], started, "", row["port"], state, since, usename=row["user"])
