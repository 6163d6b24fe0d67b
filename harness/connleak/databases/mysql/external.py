"""An external MySQL or MariaDB at an address: with a database for this run, or shared with its users as it is."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

from connleak.databases import external
from connleak.databases.mysql.connection import pymysql
from connleak.databases.server import Server, drop_with_retry
from connleak.model.addresses import MYSQL_TLS, DatabaseAddress
from connleak.model.errors import Error
from connleak.processes.records import DatabaseEntry


@contextlib.contextmanager
def external_mysql(address: DatabaseAddress) -> Iterator[Server]:
    """Create a database for this run on an external server, yield it and drop it.

    A user who may not create one shares their own database with the app, and a note says so.
    """
    admin: dict[str, Any] = dict(address.arguments)
    with contextlib.closing(first_connection(admin)) as first, first.cursor() as cursor:
        facts = server_facts(cursor)
        where, name = f"mysql://{admin['host']}:{admin['port']}", external.database_name()
        notes = drop_abandoned(cursor, where)
    created = True

    def drop() -> None:
        if created:
            drop_database(admin, name)

    with external.dropped_at_end(DatabaseEntry(where, name), drop):
        with contextlib.closing(first_connection(admin)) as first, first.cursor() as cursor:
            password = create_database(cursor, name)
        created = password is not None
        if not created:
            note = "this user may not create a database and a user: the app shares its own with the sampler"
            yield server_at(admin, facts, note, *notes)
            return
        own = {"user": name, "password": str(password), "database": name}
        yield server_at({**admin, "database": name}, facts, *notes, own=own)


def watched_mysql(address: DatabaseAddress) -> Server:
    """Return the database at an address for reading only: nothing is created there."""
    admin: dict[str, Any] = dict(address.arguments)
    with contextlib.closing(first_connection(admin)) as first, first.cursor() as cursor:
        facts = server_facts(cursor)
        cursor.execute("SHOW GRANTS")
        grants = " ".join(str(row[0]) for row in cursor.fetchall())
    user = admin.get("user", "this user")
    note = f"{user} sees only its own sessions; to see all: GRANT PROCESS ON *.* TO {user}"
    return server_at(admin, facts, *([] if "PROCESS" in grants or "ALL PRIVILEGES ON *.*" in grants else [note]))


def first_connection(admin: dict[str, Any]) -> Any:
    """Return an open connection; raise Error with the server's message."""
    try:
        return pymysql().connect(**admin, autocommit=True)
    except pymysql().MySQLError as error:
        hint = "mysql with the same address: is the server up?"
        raise Error(f"the database refused the connection: {error}", hint) from None


def server_facts(cursor: Any) -> dict[str, Any]:
    """Return the version and max_connections."""
    cursor.execute("SELECT VERSION(), @@max_connections")
    version, limit = cursor.fetchone()
    return {"version": str(version).partition("-")[0], "max_connections": int(limit)}


def drop_abandoned(cursor: Any, where: str) -> tuple[str, ...]:
    """Drop what killed runs left on the server; return notes on that, and on possible leftovers of other machines."""

    def drop(name: str) -> bool:
        try:
            cursor.execute("SELECT 1 FROM information_schema.processlist WHERE %s IN (db, user)", [name])
            if cursor.fetchone():
                return False
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
            cursor.execute(f"DROP USER IF EXISTS '{name}'@'%'")
        except pymysql().MySQLError:
            return False
        return True

    dropped = external.drop_abandoned(where, drop)
    cursor.execute(
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'connleak\\_%'"
        " AND schema_name NOT IN (SELECT db FROM information_schema.processlist WHERE db IS NOT NULL)"
    )
    present = {name for (name,) in cursor.fetchall()} | idle_users(cursor)
    command = "DROP DATABASE IF EXISTS `{0}`; DROP USER IF EXISTS '{0}'@'%'"
    return external.notes_on_others(dropped, sorted(present), command)


def idle_users(cursor: Any) -> set[str]:
    """Return the users of runs without a session now; empty if this user may not read mysql.user."""
    try:
        cursor.execute(
            "SELECT user FROM mysql.user WHERE user LIKE 'connleak\\_%'"
            " AND user NOT IN (SELECT user FROM information_schema.processlist)"
        )
    except pymysql().MySQLError:
        return set()
    return {str(name) for (name,) in cursor.fetchall()}


def create_database(cursor: Any, name: str) -> str | None:
    """Create a database and a user of the same name; return the password, None if this user may not create them."""
    password = secrets.token_urlsafe(12)
    try:
        cursor.execute(f"CREATE DATABASE `{name}`")
    except pymysql().MySQLError:
        return None
    try:
        cursor.execute(f"CREATE USER '{name}'@'%%' IDENTIFIED BY %s", [password])
        cursor.execute(f"GRANT ALL ON `{name}`.* TO '{name}'@'%'")
    except pymysql().MySQLError:  # no right to create a user, or to grant it anything
        cursor.execute(f"DROP DATABASE `{name}`")
        with contextlib.suppress(pymysql().MySQLError):
            cursor.execute(f"DROP USER IF EXISTS '{name}'@'%'")
        return None
    return password


def drop_database(admin: dict[str, Any], name: str) -> None:
    """Drop what `create_database` created, by a new connection: the first one may have timed out."""

    def drop() -> None:
        with contextlib.closing(pymysql().connect(**admin, autocommit=True)) as connection:
            cursor = connection.cursor()
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
            cursor.execute(f"DROP USER IF EXISTS '{name}'@'%'")

    drop_with_retry(drop, pymysql().MySQLError, name, f"DROP DATABASE `{name}`; DROP USER '{name}'@'%'")


def server_at(admin: dict[str, Any], facts: dict[str, Any], *notes: str, own: dict[str, str] | None = None) -> Server:
    """Return the server as the app sees it: with this run's user and database, or with those of the address."""
    seen = own or admin
    return Server(
        kind="mysql",
        source="url",
        reserved=0,
        host=admin["host"],
        port=admin["port"],
        user=str(seen.get("user", "")),
        password=str(seen.get("password", "")),
        dbname=str(seen.get("database", "")),
        admin=admin,
        own_server=False,
        own_database=own is not None,
        tls={name: str(admin[name]) for name in MYSQL_TLS if name in admin},
        notes=notes,
        **facts,
    )
