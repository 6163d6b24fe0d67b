"""An external PostgreSQL at an address: with a database for this run, or shared with its users as it is."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from connleak.databases import external
from connleak.databases.postgres.connection import connect, create_role, server_facts
from connleak.databases.server import Server, drop_with_retry
from connleak.model.addresses import DatabaseAddress
from connleak.model.errors import Error
from connleak.processes.hosts import refuse_remote
from connleak.processes.records import DatabaseEntry

TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
"""Options of an address that the app's own connections need, too."""


@contextlib.contextmanager
def external_postgres(address: DatabaseAddress, allowed: Sequence[str]) -> Iterator[Server]:
    """Create a database for this run on an external server, yield it and drop it.

    A role that may not create one shares its own database with the app, and a note says so.
    """
    admin: dict[str, Any] = dict(address.arguments)
    with contextlib.closing(first_connection(admin, allowed)) as first:
        cursor = first.cursor()
        cursor.execute("SELECT rolsuper OR (rolcreatedb AND rolcreaterole) FROM pg_roles WHERE rolname = current_user")
        may_create = bool(cursor.fetchone()[0])
        facts = server_facts(cursor)
        where = f"postgresql://{first.info.host}:{first.info.port}"
        notes = drop_abandoned(cursor, where) if may_create else ()
    if not may_create:
        note = (
            "this role may not create a database or a role: the app shares its role and database with the"
            " sampler, and sessions are counted by process and application_name"
        )
        yield shared_server(admin, facts, note)
        return
    name = external.database_name()
    with external.dropped_at_end(DatabaseEntry(where, name), lambda: drop_database(admin, name)):
        yield replace(create_database(admin, name), notes=notes)


def watched_postgres(address: DatabaseAddress, allowed: Sequence[str]) -> Server:
    """Return the database at an address for reading only: nothing is created there."""
    admin: dict[str, Any] = dict(address.arguments)
    with contextlib.closing(first_connection(admin, allowed)) as first:
        cursor = first.cursor()
        cursor.execute("SET default_transaction_read_only = on")
        facts = server_facts(cursor)
        cursor.execute("SELECT current_database(), current_user, pg_has_role('pg_read_all_stats', 'MEMBER')")
        admin["dbname"], role, sees_all = cursor.fetchone()
    note = f"the role {role} sees only the states of its own sessions; to see all: GRANT pg_monitor TO {role}"
    return shared_server(admin, facts, *([] if sees_all else [note]))


def first_connection(admin: dict[str, Any], allowed: Sequence[str]) -> Any:
    """Return an open connection; raise Error with the server's message, or for a host that is not allowed."""
    try:
        connection = connect(admin, admin.get("dbname", "postgres"))
    except psycopg.Error as error:
        raise Error(
            f"the database refused the connection: {str(error).strip()}",
            "psql with the same address: is the server up?",
        ) from None
    try:
        if connection.info.host not in allowed:
            refuse_remote([connection.info.hostaddr or connection.info.host], allowed)
    except Error:
        connection.close()
        raise
    return connection


def shared_server(admin: dict[str, Any], facts: dict[str, Any], *notes: str) -> Server:
    """Return the server with the database and the role of its address."""
    return Server(
        source="url",
        **facts,
        host=str(admin["host"]),
        port=int(str(admin["port"]).partition(",")[0]),
        user=str(admin.get("user", "")),
        password=str(admin.get("password", "")),
        dbname=str(admin.get("dbname", admin.get("user", ""))),
        admin=admin,
        own_server=False,
        own_database=False,
        tls=tls_of(admin),
        notes=notes,
    )


def drop_abandoned(cursor: Any, where: str) -> tuple[str, ...]:
    """Drop what killed runs left on the server; return notes on that, and on possible leftovers of other machines."""

    def drop(name: str) -> bool:
        try:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))  # fails while in use
            cursor.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
        except psycopg.Error:
            return False
        return True

    dropped = external.drop_abandoned(where, drop)
    cursor.execute(
        "SELECT name FROM (SELECT datname AS name FROM pg_database UNION SELECT rolname FROM pg_roles) AS all_of_them"
        " WHERE name LIKE 'connleak\\_%' AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE name IN (datname, usename))"
    )
    present = [name for (name,) in cursor.fetchall()]
    return external.notes_on_others(dropped, present, 'DROP DATABASE "{0}"; DROP ROLE "{0}"')


def drop_database(admin: dict[str, Any], name: str) -> None:
    """Drop what `create_database` created, and the app's sessions in it; raise Error if the server does not."""

    def drop() -> None:
        with contextlib.closing(connect(admin, admin.get("dbname", "postgres"))) as connection:
            cursor = connection.cursor()
            force = sql.SQL(" WITH (FORCE)" if connection.info.server_version >= 130000 else "")
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)) + force)
            cursor.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

    drop_with_retry(drop, psycopg.Error, name, f'DROP DATABASE "{name}"; DROP ROLE "{name}"')


def create_database(admin: dict[str, Any], name: str) -> Server:
    """Create a database and an ordinary role for this run on an external server."""
    password = secrets.token_urlsafe(12)
    with contextlib.closing(connect(admin, admin.get("dbname", "postgres"))) as connection:
        cursor = connection.cursor()
        identifier = sql.Identifier(name)
        create_role(connection, name, password)
        cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(identifier))
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))
        facts = server_facts(cursor)
    app = {**admin, "user": name, "password": password, "dbname": name}
    return replace(shared_server(app, facts), admin={**admin, "dbname": name}, own_database=True)


def tls_of(admin: dict[str, Any]) -> dict[str, str]:
    """Return the TLS options of an address."""
    return {name: str(admin[name]) for name in TLS if name in admin}
