"""Connections to PostgreSQL with the sampler's rights; the app's role, database and SQL file."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from connleak.databases.postgres.libpq import without_environment
from connleak.databases.server import Server
from connleak.model.errors import Error

SUPERUSER = "connleak"
"""The superuser of a PostgreSQL that a run starts. It has no password."""
DATABASE = "app"
"""The database of a PostgreSQL that a run starts, and the ordinary role that owns it."""
SETTINGS = {
    "dynamic_shared_memory_type": "mmap",  # in the data folder, which is removed: POSIX segments outlive kill -9
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
"""Settings of every PostgreSQL that a run starts: no durability, and a log of all connections."""


def connect(admin: Mapping[str, Any], dbname: str, encoding: str = "UTF8") -> psycopg.Connection[tuple[Any, ...]]:
    """Return an autocommit connection with the sampler's rights.

    Statements are never prepared: behind a pooler, the next statement may run in another server session.
    """
    given: dict[str, Any] = {**admin, "dbname": dbname, "client_encoding": encoding}
    return psycopg.connect(**given, autocommit=True, prepare_threshold=None)


def server_facts(cursor: Any) -> dict[str, Any]:
    """Return the version, max_connections and the number of connections reserved for superusers."""
    cursor.execute(
        "SELECT current_setting('server_version'), current_setting('max_connections')::int,"
        " current_setting('superuser_reserved_connections')::int"
        " + coalesce(current_setting('reserved_connections', true)::int, 0)"
    )
    version, max_connections, reserved = cursor.fetchone()
    return {"version": version.split()[0], "max_connections": max_connections, "reserved": reserved}


def create_role(connection: psycopg.Connection[Any], name: str, password: str) -> None:
    """Create an ordinary role; the password is sent hashed, because the server may log the statement."""
    hashed = connection.pgconn.encrypt_password(password.encode(), name.encode()).decode()
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(hashed)))


def hand_over_database(admin: dict[str, Any], source: str) -> Server:
    """Create the app's ordinary role on a server that this run started, make it the database's owner, return both."""
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
        own_server=True,
        own_database=True,
    )


def run_sql(server: Server, path: Path) -> None:
    """Run an SQL file as the app's role; raise Error with the server's message."""
    try:
        connection = psycopg.connect(**app_arguments(server), client_encoding="UTF8")
    except psycopg.Error as error:
        hint = "psql with the same address: is a connection free for an ordinary role?"
        raise Error(f"the database refused the app's role: {str(error).strip()}", hint, exit_code=4) from None
    try:
        with connection:
            connection.execute(path.read_bytes())
    except psycopg.Error as error:
        raise Error(f"{path} failed: {str(error).strip()}", f"$EDITOR {path}") from None


def app_arguments(server: Server) -> dict[str, Any]:
    """Return the arguments of a connection as the app's role, to the host that the sampler is connected to."""
    app = {"user": server.user, "password": server.password, "dbname": server.dbname}
    if server.own_server:
        return without_environment({"host": server.host, "port": server.port, **app})
    return {**server.admin, **app}
