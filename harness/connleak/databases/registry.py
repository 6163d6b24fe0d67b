"""Which database a plan asks for: opens it, runs the target's schema in it, and says how its sessions are read."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from connleak.databases import sources, sqlite
from connleak.databases.mysql import local as mysql
from connleak.databases.mysql.external import foreign_mysql, watched_mysql
from connleak.databases.mysql.local import MysqlReader, own_mysql
from connleak.databases.pgbouncer import PgbouncerReader, find_pgbouncer, own_pgbouncer
from connleak.databases.postgres.external import watched_database
from connleak.databases.postgres.local import open_postgres
from connleak.databases.postgres.local import run_sql as run_sql_postgres
from connleak.databases.postgres.reader import PostgresReader
from connleak.databases.server import Reader, Server
from connleak.databases.sqlite import SqliteReader, own_sqlite
from connleak.model.addresses import DatabaseAddress
from connleak.model.plan import Plan
from connleak.processes.supervisor import Keeper


def open_database(
    keeper: Keeper, plan: Plan, address: DatabaseAddress | None, logs: Path
) -> contextlib.AbstractContextManager[Server]:
    """Returns the database that the plan asks for, with a database of this run's own; gone or dropped afterwards."""
    kind = plan.database.kind
    if kind == "mysql" and address:
        return foreign_mysql(address)
    if kind == "mysql":
        return own_mysql(keeper, plan, logs)
    if kind == "sqlite":
        return own_sqlite(keeper)
    if kind == "pgbouncer":
        return own_pgbouncer(keeper, plan, logs)
    return open_postgres(keeper, plan, address, logs)


def watched(address: DatabaseAddress, allowed: Sequence[str]) -> Server:
    """Returns the database at an address, PostgreSQL's or MySQL's, to be looked at alone; raises Error."""
    if address.kind == "mysql":
        return watched_mysql(address)
    return watched_database(address, allowed)


def find_server(kind: str) -> None:
    """Raises Error with what to install when this machine has no server of a kind."""
    if kind == "mysql":
        mysql.pymysql()
        mysql.find_program("mariadbd")
    elif kind != "sqlite":
        sources.first_that_works(sources.PROGRAMS if kind == "pgbouncer" else sources.ALL, fetch=False)
        if kind == "pgbouncer":
            find_pgbouncer()


def reader_of(server: Server, origin: float) -> Reader:
    """Returns what reads a server's sessions; `origin` is the recording's zero on the monotonic clock."""
    if server.kind == "mysql":
        return MysqlReader(server, origin)
    if server.kind == "sqlite":
        return SqliteReader(server, origin)
    if server.kind == "pgbouncer":
        return PgbouncerReader(server, origin)
    return PostgresReader(server, origin)


def run_sql(server: Server, path: Path) -> None:
    """Runs an SQL file as the app's user, before the app starts; raises Error with what the server said."""
    if server.kind == "mysql":
        mysql.run_sql(server, path)
    elif server.kind == "sqlite":
        sqlite.run_sql(server, path)
    else:
        run_sql_postgres(server.behind or server, path)
