"""A MySQL or MariaDB at an address: a database of this run's own on it, or the user's as it is."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

from connleak.databases import external as foreign
from connleak.databases.mysql.local import pymysql
from connleak.databases.server import Server, drop_when_there
from connleak.model.addresses import MYSQL_TLS, DatabaseAddress
from connleak.model.errors import Error
from connleak.processes.records import Database


@contextlib.contextmanager
def foreign_mysql(address: DatabaseAddress) -> Iterator[Server]:
    """Yields a database of our own on somebody's server, dropped afterwards; or theirs as it is, and says so."""
    admin: dict[str, Any] = dict(address.arguments)
    with contextlib.closing(first_connection(admin)) as first, first.cursor() as cursor:
        facts = server_facts(cursor)
        where, name = f"mysql://{admin['host']}:{admin['port']}", foreign.database_name()
        notes = drop_left(cursor, where)
    made = True

    def drop() -> None:
        if made:
            drop_database(admin, name)

    with foreign.dropped_at_end(Database(where, name), drop):
        with contextlib.closing(first_connection(admin)) as first, first.cursor() as cursor:
            password = create_database(cursor, name)
        made = password is not None
        if not made:
            note = "this user may not create a database and a user: the app shares its own with the sampler"
            yield server_at(admin, facts, note, *notes)
            return
        own = {"user": name, "password": str(password), "database": name}
        yield server_at({**admin, "database": name}, facts, *notes, own=own)


def watched_mysql(address: DatabaseAddress) -> Server:
    """Returns the database at an address as it is: nothing is made there, it is only looked at."""
    admin: dict[str, Any] = dict(address.arguments)
    with contextlib.closing(first_connection(admin)) as first, first.cursor() as cursor:
        facts = server_facts(cursor)
        cursor.execute("SHOW GRANTS")
        grants = " ".join(str(row[0]) for row in cursor.fetchall())
    note = f"{admin.get('user', 'this user')} sees its own sessions alone; for all of them: GRANT PROCESS ON *.* TO it"
    return server_at(admin, facts, *([] if "PROCESS" in grants or "ALL PRIVILEGES ON *.*" in grants else [note]))


def first_connection(admin: dict[str, Any]) -> Any:
    """Returns an open connection; raises Error with what the server said."""
    try:
        return pymysql().connect(**admin, autocommit=True)
    except pymysql().MySQLError as error:
        raise Error(f"the database refused: {error}", "mysql with the same address; is the server up?") from None


def server_facts(cursor: Any) -> dict[str, Any]:
    cursor.execute("SELECT VERSION(), @@max_connections")
    version, limit = cursor.fetchone()
    return {"version": str(version).partition("-")[0], "max_connections": int(limit)}


def drop_left(cursor: Any, where: str) -> tuple[str, ...]:
    """Drops what killed runs left on this server; returns notes on that, and on what may be another machine's."""

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

    dropped = foreign.drop_left(where, drop)
    cursor.execute(
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'connleak\\_%'"
        " AND schema_name NOT IN (SELECT db FROM information_schema.processlist WHERE db IS NOT NULL)"
    )
    there = {name for (name,) in cursor.fetchall()} | users_left(cursor)
    words = "DROP DATABASE IF EXISTS `{0}`; DROP USER IF EXISTS '{0}'@'%'"
    return foreign.notes_on(dropped, sorted(there), words)


def users_left(cursor: Any) -> set[str]:
    """Returns the users of runs who have no session now; none where this user may not read of users."""
    try:
        cursor.execute(
            "SELECT user FROM mysql.user WHERE user LIKE 'connleak\\_%'"
            " AND user NOT IN (SELECT user FROM information_schema.processlist)"
        )
    except pymysql().MySQLError:
        return set()
    return {str(name) for (name,) in cursor.fetchall()}


def create_database(cursor: Any, name: str) -> str | None:
    """Returns the password of a new database's user, who has its name; None where that is not allowed."""
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
    """Drops what `create_database` made: by a new connection, for the first may have been idle too long."""

    def drop() -> None:
        with contextlib.closing(pymysql().connect(**admin, autocommit=True)) as connection:
            cursor = connection.cursor()
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
            cursor.execute(f"DROP USER IF EXISTS '{name}'@'%'")

    drop_when_there(drop, pymysql().MySQLError, name, f"DROP DATABASE `{name}`; DROP USER '{name}'@'%'")


def server_at(admin: dict[str, Any], facts: dict[str, Any], *notes: str, own: dict[str, str] | None = None) -> Server:
    """Returns the server as the app sees it: with a user and a database of the run's own, or with those given."""
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
        ours=False,
        own_database=own is not None,
        tls={name: str(admin[name]) for name in MYSQL_TLS if name in admin},
        notes=notes,
        **facts,
    )
