"""PostgreSQL for one run: a server of ours (from programs that are here, or in a container), or one at an address."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from connleak.databases import sources
from connleak.databases.accounts import SUPERUSER, Account, copy, give, server_account, server_folder, write_rules
from connleak.databases.postgres.binaries import DATABASE, find_programs, reachable_programs, template_data, version_of
from connleak.databases.postgres.libpq import undone
from connleak.databases.server import Server
from connleak.model.addresses import DatabaseAddress
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.processes.supervisor import Child, Keeper, free_port, wait_until_ready

SETTINGS = {
    "dynamic_shared_memory_type": "mmap",  # in its folder, so that it goes with it: else a kill -9 leaves it
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "autovacuum": "off",
    "max_worker_processes": "0",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_line_prefix": "%m [%p] %e %q%u@%d ",
    "log_timezone": "UTC",
}
"""What every server of ours is started with: nothing durable, everything logged that tells of sessions."""


@contextlib.contextmanager
def open_postgres(keeper: Keeper, plan: Plan, address: DatabaseAddress | None, logs: Path) -> Iterator[Server]:
    """Yields the server that the plan asks for, with a database of this run's own; gone or dropped afterwards."""
    plan, notes = with_source(plan, sources.ALL)
    if plan.database.source.startswith("docker"):
        from connleak.databases.postgres.docker import docker_postgres

        with docker_postgres(keeper, plan, logs) as server:
            yield replace(server, notes=notes)
    elif address:
        from connleak.databases.postgres.external import foreign_database

        with foreign_database(address, plan.remote) as server:
            yield server
    else:
        with own_server(keeper, plan, logs) as server:
            yield replace(server, notes=notes)


def with_source(plan: Plan, candidates: Sequence[str]) -> tuple[Plan, tuple[str, ...]]:
    """Returns the plan with a source that works here when it leaves that to us, and notes on the choice."""
    if plan.database.source != "auto":
        return plan, ()
    source, notes = sources.first_that_works(candidates)
    database = msgspec.structs.replace(plan.database, source=source)
    return msgspec.structs.replace(plan, database=database), notes


@contextlib.contextmanager
def own_server(keeper: Keeper, plan: Plan, logs: Path) -> Iterator[Server]:
    """Starts a server on loopback from the cached template: superuser by a private socket, the app's role by TCP."""
    account = server_account()
    programs = reachable_programs(find_programs(plan.database.source), account)
    folder = server_folder(keeper, "pg", account)
    # cp, not shutil: a thousand small files take it a tenth of the time, and it keeps their owner
    copy(keeper, template_data(programs, account), folder / "data")
    version = version_of(programs)
    settings = {**SETTINGS, "max_connections": str(plan.database.max_connections)} | write_rules(folder, account)
    if int(version.split(".")[0]) >= 16:
        settings["scram_iterations"] = "1"  # a fresh password each run; hashing it slowly would only cost load
    give(account, folder)
    child, admin = start_server(keeper, programs / "postgres", folder, settings, logs, account)
    try:
        yield hand_over_database(admin, plan.database.source)
    finally:
        keeper.stop(child)


def start_server(
    keeper: Keeper, program: Path, folder: Path, settings: dict[str, str], logs: Path, account: Account | None
) -> tuple[Child, dict[str, Any]]:
    """Returns the running server and the superuser's arguments for it; another port is tried when one is taken."""
    for attempt in (1, 2, 3):
        port = free_port()
        argv = [
            str(program),
            "-D",
            str(folder / "data"),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-k",
            str(folder),
        ]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        child = keeper.start(
            "PostgreSQL",
            argv,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            log=logs / "postgres.log",
            stop_signal=signal.SIGINT,
            account=(account.uid, account.gid) if account else None,
        )
        admin = undone({"host": str(folder), "port": port, "user": SUPERUSER, "application_name": "connleak"})
        try:
            wait_until_accepting(keeper, child, admin)
            keeper.need(child)
            return child, admin
        except Error:
            if attempt == 3 or "Address already in use" not in child.log.read_text(errors="replace"):
                raise
    raise AssertionError("the third attempt returns or raises")


def wait_until_accepting(keeper: Keeper, child: Child, admin: dict[str, Any]) -> None:
    """Returns once the server lets the superuser in; raises Error with its log's last lines."""

    def ready() -> bool:
        try:
            connect(admin, DATABASE).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_until_ready(keeper, child, ready, timeout=30)


def connect(admin: Mapping[str, Any], dbname: str, encoding: str = "UTF8") -> psycopg.Connection[tuple[Any, ...]]:
    """Returns an autocommit connection with the sampler's rights.

    It prepares no statement by itself: a pooler may stand between, which gives the next one another session.
    """
    given: dict[str, Any] = {**admin, "dbname": dbname, "client_encoding": encoding}
    return psycopg.connect(**given, autocommit=True, prepare_threshold=None)


def hand_over_database(admin: dict[str, Any], source: str) -> Server:
    """Creates the app's ordinary role on a server of ours and gives it the database; returns what the app will see."""
    password = secrets.token_urlsafe(12)
    owner = sql.Identifier(DATABASE)
    with contextlib.closing(connect(admin, DATABASE)) as connection, connection.cursor() as cursor:
        create_role(connection, DATABASE, password)
        cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(owner, owner))
        facts = server_facts(cursor)
    return Server(
        source=source,
        **facts,
        host="127.0.0.1" if str(admin["host"]).startswith("/") else admin["host"],
        port=admin["port"],
        user=DATABASE,
        password=password,
        dbname=DATABASE,
        admin={**admin, "dbname": DATABASE},
        ours=True,
        own_database=True,
    )


def create_role(connection: psycopg.Connection[Any], name: str, password: str) -> None:
    """Creates an ordinary role. The server gets its password hashed, for a statement may come into its log."""
    hashed = connection.pgconn.encrypt_password(password.encode(), name.encode()).decode()
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(hashed)))


def server_facts(cursor: Any) -> dict[str, Any]:
    """Returns version, max_connections and the number of connections reserved for superusers."""
    cursor.execute(
        "SELECT current_setting('server_version'), current_setting('max_connections')::int,"
        " current_setting('superuser_reserved_connections')::int"
        " + coalesce(current_setting('reserved_connections', true)::int, 0)"
    )
    version, max_connections, reserved = cursor.fetchone()
    return {"version": version.split()[0], "max_connections": max_connections, "reserved": reserved}


def as_app(server: Server) -> dict[str, Any]:
    """Returns the arguments of a connection as the app's role, to the host that the sampler is connected to."""
    app = {"user": server.user, "password": server.password, "dbname": server.dbname}
    if server.ours:
        return undone({"host": server.host, "port": server.port, **app})
    return {**server.admin, **app}


def run_sql(server: Server, path: Path) -> None:
    """Runs an SQL file as the app's role, before the app starts."""
    try:
        connection = psycopg.connect(**as_app(server), client_encoding="UTF8")
    except psycopg.Error as error:
        again = "psql with the same address: has the server a connection free for an ordinary role?"
        raise Error(f"the database refused the app's role: {str(error).strip()}", again, exit_code=4) from None
    try:
        with connection:
            connection.execute(path.read_bytes())
    except psycopg.Error as error:
        raise Error(f"{path} failed: {str(error).strip()}", f"$EDITOR {path}") from None
