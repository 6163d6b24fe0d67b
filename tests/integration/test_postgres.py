"""PostgreSQL from the wheel, from the system and at an address: its roles, its limits and the run's database."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import psycopg2
import pytest
from connleak.databases.postgres import open_postgres
from connleak.databases.postgres.connection import connect
from connleak.databases.postgres.reader import PostgresReader
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.plan import Database
from connleak.plan.addresses import parse_postgres
from connleak.processes.accounts import can_reach, server_account
from connleak.processes.supervisor import Supervisor
from connleak.recording.writer import Writer
from support.plans import server_plan


def one(server: Server, query: str) -> object:
    with contextlib.closing(psycopg2.connect(server.url())) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def test_the_app_is_an_ordinary_role_and_the_sampler_a_superuser(server: Server) -> None:
    assert one(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone()[0] is True


def test_it_listens_on_loopback_has_the_plans_limits_and_logs_with_sqlstate(server: Server, tmp_path: Path) -> None:
    assert one(server, "SHOW listen_addresses") == "127.0.0.1"
    assert one(server, "SHOW max_connections") == "20"
    assert one(server, "SHOW fsync") == "off"
    with pytest.raises(psycopg2.Error):
        one(server, "SELECT no_such_column")
    assert "42703" in (tmp_path / "postgres.log").read_text()
    assert "connection authorized" in (tmp_path / "postgres.log").read_text()


def test_it_keeps_its_shared_memory_in_its_own_folder(server: Server) -> None:
    pid = one(server, "SELECT pg_backend_pid()")
    with contextlib.closing(psycopg2.connect(server.url())) as connection:
        maps = Path(f"/proc/{connection.info.backend_pid}/maps").read_text()
    assert pid and "pg_dynshmem/mmap." in maps
    assert "/dev/shm/PostgreSQL." not in maps  # SIGKILL would leave it behind


def test_the_app_needs_its_password(server: Server) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host=server.host, port=server.port, user=server.user, dbname=server.dbname, password="no")
    assert server.password not in repr(server)


def test_a_full_server_refuses_the_app_but_not_the_sampler(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(server.max_connections - server.reserved):
            stack.enter_context(contextlib.closing(psycopg2.connect(server.url())))
        with pytest.raises(psycopg2.OperationalError, match="remaining connection slots are reserved"):
            psycopg2.connect(server.url())
        stack.enter_context(contextlib.closing(connect(server.admin, server.dbname)))


def test_a_second_start_is_fast(supervisor: Supervisor, tmp_path: Path) -> None:
    began = time.monotonic()
    with open_postgres(supervisor, server_plan(), None, tmp_path):
        assert time.monotonic() - began < 20  # on a busy machine; the figure is measured in benchmarks/


@pytest.mark.needs("postgresql")
def test_the_systems_server_is_used_on_request(supervisor: Supervisor, tmp_path: Path) -> None:
    plan = server_plan(database=Database(source="system", max_connections=20))
    with open_postgres(supervisor, plan, None, tmp_path) as server:
        assert one(server, "SELECT 1") == 1
        assert server.source == "system"


def test_at_an_address_a_database_and_a_role_are_created_and_dropped(
    server: Server, supervisor: Supervisor, tmp_path: Path
) -> None:
    plan = server_plan(database=Database(source="url"))
    with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
        cursor.execute("CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'secret'")
        address = f"postgresql+psycopg2://boss:secret@127.0.0.1:{server.port}/app"
        with open_postgres(supervisor, plan, parse_postgres(address, ()), tmp_path) as external:
            assert external.own_database and not external.own_server
            assert external.dbname.startswith("connleak_")
            assert one(external, "SELECT current_user::text") == external.user
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'connleak%'")
        assert cursor.fetchone()[0] == 0
        cursor.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'connleak\\_%'")
        assert cursor.fetchone()[0] == 0


def test_at_an_address_with_few_rights_the_database_is_shared_and_a_note_says_so(
    server: Server, supervisor: Supervisor, tmp_path: Path
) -> None:
    plan = server_plan(database=Database(source="url"))
    with open_postgres(supervisor, plan, parse_postgres(server.url(), ()), tmp_path) as external:
        assert not external.own_database
        assert "may not create a database" in external.notes[0]


def test_a_refused_connection_is_reported_without_the_password(
    supervisor: Supervisor, server: Server, tmp_path: Path
) -> None:
    address = f"postgresql://app:guessed-wrong@127.0.0.1:{server.port}/app"
    with (
        pytest.raises(Error, match="the database refused") as caught,
        open_postgres(supervisor, server_plan(database=Database(source="url")), parse_postgres(address, ()), tmp_path),
    ):
        pass
    assert caught.value.exit_code == 2
    assert "guessed-wrong" not in caught.value.message


@pytest.mark.needs("root")
def test_a_folder_that_the_account_cannot_pass_is_detected(tmp_path: Path) -> None:
    account = server_account()
    assert account is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "bin").mkdir()
    assert not can_reach(closed / "bin", account)
    assert can_reach(Path(os.path.realpath("/usr/bin")), account)


@pytest.mark.parametrize(
    "major", [pytest.param(major, marks=pytest.mark.needs(f"postgresql-{major}")) for major in ("15", "16", "17", "18")]
)
def test_each_version_of_the_server_runs_and_is_read(
    major: str, supervisor: Supervisor, writer: Writer, tmp_path: Path
) -> None:
    plan = server_plan(database=Database(source=major, max_connections=20))
    with open_postgres(supervisor, plan, None, tmp_path) as server:
        assert server.version.split(".")[0] == major
        with (
            contextlib.closing(psycopg2.connect(server.url())) as connection,
            contextlib.closing(PostgresReader(server, 0.0)) as reader,
        ):
            connection.cursor().execute("SELECT 1")
            reading = reader.read(full=True)
            (row,) = reading.backends.values()
            assert (row.pid, row.state) == (connection.info.backend_pid, "idle in transaction")
            assert reading.counters["sessions"] >= 1
