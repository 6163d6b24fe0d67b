"""A PostgreSQL at an address: a database of this run's own on it, or the user's as it is."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from connleak.databases import external as foreign
from connleak.databases.postgres.local import connect, create_role, server_facts
from connleak.databases.server import Server, drop_when_there
from connleak.model.addresses import DatabaseAddress
from connleak.model.errors import Error
from connleak.processes.hosts import refuse_remote
from connleak.processes.records import Database

TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
"""What of an address the app must be told, too, for its own connections."""


@contextlib.contextmanager
def foreign_database(address: DatabaseAddress, allowed: Sequence[str]) -> Iterator[Server]:
    """Yields a database of our own on somebody's server, dropped afterwards; or theirs as it is, and says so."""
    admin: dict[str, Any] = dict(address.arguments)
    with contextlib.closing(first_connection(admin, allowed)) as first:
        cursor = first.cursor()
        cursor.execute("SELECT rolsuper OR (rolcreatedb AND rolcreaterole) FROM pg_roles WHERE rolname = current_user")
        may_create = bool(cursor.fetchone()[0])
        facts = server_facts(cursor)
        where = f"postgresql://{first.info.host}:{first.info.port}"
        notes = drop_left(cursor, where) if may_create else ()
    if not may_create:
        note = (
            "this role may not create a database or a role: the app shares its role and database with the"
            " sampler, and sessions are counted by process and application_name"
        )
        yield as_it_is(admin, facts, note)
        return
    name = foreign.database_name()
    with foreign.dropped_at_end(Database(where, name), lambda: drop_database(admin, name)):
        yield replace(create_database(admin, name), notes=notes)


def watched_database(address: DatabaseAddress, allowed: Sequence[str]) -> Server:
    """Returns the database at an address as it is: nothing is made there, it is only looked at."""
    admin: dict[str, Any] = dict(address.arguments)
    with contextlib.closing(first_connection(admin, allowed)) as first:
        cursor = first.cursor()
        cursor.execute("SET default_transaction_read_only = on")
        facts = server_facts(cursor)
        cursor.execute("SELECT current_database(), current_user, pg_has_role('pg_read_all_stats', 'MEMBER')")
        admin["dbname"], role, sees_all = cursor.fetchone()
    note = f"the role {role} sees the states of its own sessions alone; for all of them: GRANT pg_monitor TO {role}"
    return as_it_is(admin, facts, *([] if sees_all else [note]))


def first_connection(admin: dict[str, Any], allowed: Sequence[str]) -> Any:
    """Returns an open connection to a host that may be used; raises Error with what the server said."""
    try:
        connection = connect(admin, admin.get("dbname", "postgres"))
    except psycopg.Error as error:
        raise Error(
            f"the database refused: {str(error).strip()}", "psql with the same address; is the server up?", exit_code=2
        ) from None
    try:
        if connection.info.host not in allowed:
            refuse_remote([connection.info.hostaddr or connection.info.host], allowed)
    except Error:
        connection.close()
        raise
    return connection


def as_it_is(admin: dict[str, Any], facts: dict[str, Any], *notes: str) -> Server:
    """Returns the server with the user's own database and role."""
    return Server(
        source="url",
        **facts,
        host=str(admin["host"]),
        port=int(str(admin["port"]).partition(",")[0]),
        user=str(admin.get("user", "")),
        password=str(admin.get("password", "")),
        dbname=str(admin.get("dbname", admin.get("user", ""))),
        admin=admin,
        ours=False,
        own_database=False,
        tls=tls_of(admin),
        notes=notes,
    )


def drop_left(cursor: Any, where: str) -> tuple[str, ...]:
    """Drops what killed runs left on this server; returns notes on that, and on what may be another machine's."""

    def drop(name: str) -> bool:
        try:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))  # not while it is used
            cursor.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
        except psycopg.Error:
            return False
        return True

    dropped = foreign.drop_left(where, drop)
    cursor.execute(
        "SELECT name FROM (SELECT datname AS name FROM pg_database UNION SELECT rolname FROM pg_roles) AS all_of_them"
        " WHERE name LIKE 'connleak\\_%' AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE name IN (datname, usename))"
    )
    return foreign.notes_on(dropped, [name for (name,) in cursor.fetchall()], 'DROP DATABASE "{0}"; DROP ROLE "{0}"')


def drop_database(admin: dict[str, Any], name: str) -> None:
    """Drops what `create_database` made, with the sessions that the ended app left in it; raises Error in the end."""

    def drop() -> None:
        with contextlib.closing(connect(admin, admin.get("dbname", "postgres"))) as connection:
            cursor = connection.cursor()
            force = sql.SQL(" WITH (FORCE)" if connection.info.server_version >= 130000 else "")
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)) + force)
            cursor.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

    drop_when_there(drop, psycopg.Error, name, f'DROP DATABASE "{name}"; DROP ROLE "{name}"')


def create_database(admin: dict[str, Any], name: str) -> Server:
    """Creates a database and an ordinary role of this run's own on somebody's server."""
    password = secrets.token_urlsafe(12)
    with contextlib.closing(connect(admin, admin.get("dbname", "postgres"))) as connection:
        cursor = connection.cursor()
        identifier = sql.Identifier(name)
        create_role(connection, name, password)
        cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(identifier))
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))
        facts = server_facts(cursor)
    mine = {**admin, "user": name, "password": password, "dbname": name}
    return replace(as_it_is(mine, facts), admin={**admin, "dbname": name}, own_database=True)


def tls_of(admin: dict[str, Any]) -> dict[str, str]:
    """Returns the TLS options of an address."""
    return {name: str(admin[name]) for name in TLS if name in admin}
