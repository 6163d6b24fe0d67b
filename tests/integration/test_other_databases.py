"""MariaDB, SQLite and PgBouncer have the interface of PostgreSQL, and the probe numbers sessions as they do."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import pymysql
import pytest
from connleak.databases.registry import reader_of, run_sql
from connleak.databases.server import Reader
from connleak.model.recording import HANDLES, Backend
from connleak.processes.services import open_services
from connleak.processes.supervisor import Supervisor
from connleak.recording.writer import Writer
from support.databases import started_database
from support.lab import Lab
from support.poll import wait_until


def rows(reader: Reader) -> list[Backend]:
    return list(reader.read(full=True).backends.values())


def state(reader: Reader, number: int) -> Callable[[str | None], bool]:
    return lambda wanted: next((row.state for row in rows(reader) if row.pid == number), None) == wanted


def test_mariadbs_sessions_show_their_transactions_and_ports(supervisor: Supervisor, tmp_path: Path) -> None:
    with started_database(supervisor, "mysql", tmp_path) as server:
        schema = tmp_path / "schema.sql"
        schema.write_text("CREATE TABLE t (n INTEGER) ENGINE=InnoDB; INSERT INTO t VALUES (1);")
        run_sql(server, schema)
        reader = reader_of(server, time.monotonic())
        login = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
        with contextlib.closing(pymysql.connect(**login, database=server.dbname)) as connection:
            cursor = connection.cursor()
            number = connection.thread_id()
            shows = state(reader, number)
            wait_until(lambda: shows("idle"), "it is seen idle")
            cursor.execute("SELECT n FROM t")
            wait_until(lambda: shows("idle in transaction"), "it is seen in its transaction")
            row = next(row for row in rows(reader) if row.pid == number)
            assert row.xact_since is not None and row.client_port == connection._sock.getsockname()[1]
            connection.rollback()
            wait_until(lambda: shows("idle"), "its transaction is over")
        wait_until(lambda: shows(None), "it is gone")
        assert reader.read(full=False).changed is not None
        reader.close()


def test_each_mariadb_keeps_its_temporary_tables_to_itself(supervisor: Supervisor, tmp_path: Path) -> None:
    """In a common folder, a server that starts would remove those of the others, whose queries then fail."""
    with started_database(supervisor, "mysql", tmp_path) as server, pymysql.connect(**server.admin) as admin:
        cursor = admin.cursor()
        cursor.execute("SELECT @@tmpdir, @@datadir")
        places = [Path(place) for place in cursor.fetchone()]
        assert places[0].parent == places[1].parent, places


def test_mariadb_refuses_the_app_when_it_is_full_but_not_the_sampler(supervisor: Supervisor, tmp_path: Path) -> None:
    with started_database(supervisor, "mysql", tmp_path) as server, ExitStack() as stack:
        login = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
        reader = reader_of(server, time.monotonic())
        assert rows(reader) == []
        with pytest.raises(pymysql.err.OperationalError, match="Too many connections"):
            while True:
                stack.enter_context(contextlib.closing(pymysql.connect(**login, database=server.dbname)))
        assert len(rows(reader)) >= server.max_connections - 2
        reader.close()


def test_sqlites_sessions_are_the_open_handles_of_other_processes(supervisor: Supervisor, tmp_path: Path) -> None:
    with started_database(supervisor, "sqlite", tmp_path) as server:
        reader = reader_of(server, time.monotonic())
        with contextlib.closing(sqlite3.connect(server.dbname)) as own:
            own.execute("SELECT 1")
            assert rows(reader) == []  # the handle of this process is not counted
            script = f"import sqlite3, sys; a = [sqlite3.connect({server.dbname!r}) for _ in range(3)]; input()"
            app = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
            try:
                wait_until(lambda: len(rows(reader)) == 3, "three handles")
                assert {row.pid // HANDLES for row in rows(reader)} == {app.pid}
            finally:
                app.communicate(b"\n")
        assert rows(reader) == []


def test_the_probe_numbers_sqlites_connections_as_the_sampler_does(
    supervisor: Supervisor, writer: Writer, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    with started_database(supervisor, "sqlite", tmp_path) as server, ExitStack() as stack:
        lab = Lab(server, writer, supervisor, folder, stack)
        script = """
        import sqlite3
        from sqlalchemy import create_engine
        path = URL.removeprefix("sqlite:///")
        kept = [sqlite3.connect(path) for _ in range(2)]
        sqlite3.connect(path).close()
        elsewhere = sqlite3.connect(":memory:")
        engine = create_engine(URL)
        kept.append(engine.connect())
        def work(): kept.append(sqlite3.connect(path, check_same_thread=False))
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
        lab.start(script, env=server.probe_environment())
        holders = lab.holders(12)
        reader = reader_of(server, time.monotonic())
        seen = {row.pid for row in rows(reader)}
        assert len(seen) == 11
        assert {holder.backend for holder in holders if holder.backend} == seen


def test_pgbouncers_clients_bear_the_state_of_their_server_session(supervisor: Supervisor, tmp_path: Path) -> None:
    with (
        started_database(supervisor, "pgbouncer", tmp_path, default_pool_size="2", query_wait_timeout="1") as server,
        ExitStack() as s,
    ):
        reader = reader_of(server, time.monotonic())
        clients = [s.enter_context(contextlib.closing(psycopg2.connect(server.url()))) for _ in range(3)]
        ports = [port_of(client) for client in clients]
        assert {row.pid for row in rows(reader)} == set(ports)
        clients[0].cursor().execute("SELECT 1")
        wait_until(lambda: state(reader, ports[0])("idle in transaction"), "the first is in its transaction")
        assert state(reader, ports[1])("idle")
        clients[1].cursor().execute("SELECT 2")
        with pytest.raises(psycopg2.Error, match=r"query_wait_timeout|server closed"):
            clients[2].cursor().execute("SELECT 3")
        reading = reader.read(full=True)
        assert reading.counters["server_sessions"] == 2  # constant on the server's side, for any number of clients
        clients[0].rollback()
        wait_until(lambda: state(reader, ports[0])("idle"), "its transaction is over")
        reader.close()


def test_behind_pgbouncer_the_probe_numbers_sessions_by_their_port(
    supervisor: Supervisor, writer: Writer, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    with started_database(supervisor, "pgbouncer", tmp_path) as server, ExitStack() as stack:
        lab = Lab(server, writer, supervisor, folder, stack)
        script = "from sqlalchemy import create_engine\nkept = create_engine(URL).connect()"
        lab.start(script, env=server.probe_environment())
        (holder,) = lab.holders(1)
        reader = reader_of(server, time.monotonic())
        assert [row.pid for row in rows(reader)] == [holder.backend]
        reader.close()


def port_of(connection: psycopg2.extensions.connection) -> int:
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        return copy.getsockname()[1]


@pytest.mark.needs("redis")
def test_the_redis_of_a_run_requires_its_password_and_ends_with_the_run(supervisor: Supervisor, tmp_path: Path) -> None:
    with open_services(supervisor, ["redis"], tmp_path) as variables:
        address = variables["REDIS_URL"]
        port = int(address.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"PING\r\n")
            assert b"NOAUTH" in client.recv(100)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
