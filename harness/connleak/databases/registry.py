"""All kinds of database, with the functions of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from connleak.databases import mysql, pgbouncer, postgres, sqlite
from connleak.databases.mysql.external import watched_mysql
from connleak.databases.mysql.reader import MysqlReader
from connleak.databases.pgbouncer import PgbouncerReader
from connleak.databases.postgres import sources
from connleak.databases.postgres.external import watched_postgres
from connleak.databases.postgres.reader import PostgresReader
from connleak.databases.server import Reader, Server
from connleak.databases.sqlite import SqliteReader
from connleak.model.addresses import DatabaseAddress
from connleak.model.plan import Plan
from connleak.processes.supervisor import Supervisor


@dataclass(frozen=True)
class DatabaseKind:
    """The functions of one kind of database."""

    open: Callable[[Supervisor, Plan, DatabaseAddress | None, Path], contextlib.AbstractContextManager[Server]]
    """Open the database of a plan, at an address if there is one, with logs in a folder."""
    reader: Callable[[Server, float], Reader]
    run_sql: Callable[[Server, Path], None]
    check_programs: Callable[[], object]
    """Raise Error with the package to install when this machine has no such server."""


KINDS = {
    "postgresql": DatabaseKind(
        open=postgres.open_postgres,
        reader=PostgresReader,
        run_sql=postgres.connection.run_sql,
        check_programs=lambda: sources.first_working_source(fetch=False),
    ),
    "pgbouncer": DatabaseKind(
        open=lambda supervisor, plan, _, logs: pgbouncer.local_pgbouncer(supervisor, plan, logs),
        reader=PgbouncerReader,
        run_sql=pgbouncer.run_sql,
        check_programs=pgbouncer.check_programs,
    ),
    "mysql": DatabaseKind(
        open=mysql.open_mysql,
        reader=MysqlReader,
        run_sql=mysql.connection.run_sql,
        check_programs=mysql.local.check_programs,
    ),
    "sqlite": DatabaseKind(
        open=lambda supervisor, *_: sqlite.local_sqlite(supervisor),
        reader=SqliteReader,
        run_sql=sqlite.run_sql,
        check_programs=lambda: None,
    ),
}


def open_database(
    supervisor: Supervisor, plan: Plan, address: DatabaseAddress | None, logs: Path
) -> contextlib.AbstractContextManager[Server]:
    """Return the plan's server with a database for this run; it is stopped, or the database dropped, afterwards."""
    return KINDS[plan.database.kind].open(supervisor, plan, address, logs)


def watched(address: DatabaseAddress, allowed: Sequence[str]) -> Server:
    """Return the PostgreSQL or MySQL database at an address, for reading only; raise Error."""
    return watched_mysql(address) if address.kind == "mysql" else watched_postgres(address, allowed)


def find_server(kind: str) -> None:
    """Raise Error with the package to install when this machine has no server of a kind."""
    KINDS[kind].check_programs()


def reader_of(server: Server, origin: float) -> Reader:
    """Return a reader of a server's sessions; `origin` is the recording's zero on the monotonic clock."""
    return KINDS[server.kind].reader(server, origin)


def run_sql(server: Server, path: Path) -> None:
    """Run an SQL file as the app's user, before the app starts; raise Error with the server's message."""
    KINDS[server.kind].run_sql(server, path)
