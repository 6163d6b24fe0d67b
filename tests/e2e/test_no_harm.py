"""A run on a shared server: every statement of connleak in the server's log, and its effect on other clients."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.cli import connleak
from support.nemeses.server import Postgres

pytestmark = pytest.mark.needs("postgresql", "root")
OWN = r'"?(connleak_[a-z0-9_]+)"?'
MAKES = (
    rf"CREATE ROLE {OWN} ",
    rf"CREATE DATABASE {OWN} ",
    rf"ALTER DATABASE {OWN} ",
    rf"GRANT .*?{OWN}",
    rf"REVOKE .*?{OWN}",
    rf"DROP DATABASE IF EXISTS {OWN}",
    rf"DROP ROLE IF EXISTS {OWN}",
)
READS = (
    "SELECT",
    "WITH",
    "SET statement_timeout",
    "SET default_transaction_read_only",
    "show password_encryption",
    "--",
)


@pytest.fixture
def somebodys() -> Iterator[Postgres]:
    with Postgres(
        log_statement="all",
        log_line_prefix="%a|%u|%d|",
        logging_collector="on",
        log_directory="log",
        log_filename="all.log",
    ) as server:
        yield server


def statements(server: Postgres) -> list[tuple[str, str, str, str]]:
    """Return (application, user, database, statement) of each statement in the server's log."""
    log = (server.home / "data" / "log" / "all.log").read_text()
    found = re.findall(
        r"^([^|\n]*)\|([^|\n]*)\|([^|\n]*)\|LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", log, re.M
    )
    return [(name, user, database, re.sub(r"\s+", " ", statement).strip()) for name, user, database, statement in found]


def test_it_only_reads_but_for_a_database_of_its_own_and_touches_nobody(somebodys: Postgres, tmp_path: Path) -> None:
    with contextlib.closing(somebodys.connect()) as guest, guest.cursor() as cursor:
        cursor.execute("CREATE TABLE mine AS SELECT 1 AS number")
        cursor.execute("SELECT pg_backend_pid(), pg_current_wal_lsn()")
        pid, _ = cursor.fetchone()
        done = connleak(
            "run", "missing_remove:buggy", "--json", "--postgres", somebodys.address, "--out", str(tmp_path / "run")
        )
        assert json.loads(done.stdout)["outcome"] == "leak", done.stderr
        cursor.execute("SELECT pg_backend_pid(), number FROM mine")
        assert cursor.fetchone() == (pid, 1)
        cursor.execute("SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles")
        assert not [name for (name,) in cursor.fetchall() if name.startswith("connleak_")]
    seen = statements(somebodys)
    own = [text for name, user, _, text in seen if user == "connleak" and name == "connleak"]
    assert len(own) > 50
    made = {found[1] for text in own for form in MAKES if (found := re.match(form, text))}
    assert len(made) == 1, "one database and role, of the same name"
    strange = [text for text in own if not text.startswith(READS) and not any(re.match(form, text) for form in MAKES)]
    assert strange == []
    assert not [text for text in own if re.search("PASSWORD '(?!SCRAM-SHA-256)", text)], "no password is in its log"
    assert not [text for text in own if re.search("pg_terminate|pg_cancel|pg_reload|ALTER SYSTEM", text)]
    the_apps = {database for name, user, database, _ in seen if user in made}
    assert the_apps == made, "the app is let into that database alone"


def test_the_connection_that_only_looks_may_not_write_and_waits_for_nothing(somebodys: Postgres) -> None:
    """The sampler's session, with a superuser's rights, tries to write."""
    from connleak.databases.postgres.external import watched_postgres
    from connleak.databases.postgres.reader import PostgresReader
    from connleak.plan.addresses import parse_postgres

    reader = PostgresReader(watched_postgres(parse_postgres(somebodys.address, ()), ()), 0.0)
    reader.read(full=True)
    with reader._connection.cursor() as cursor:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            cursor.execute("CREATE TABLE theirs (number int)")
        with pytest.raises(psycopg.errors.QueryCanceled):
            cursor.execute("SELECT pg_sleep(10)")
    reader.close()
