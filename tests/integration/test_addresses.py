"""Databases in a container and at an address: with TLS, and MariaDB."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from connleak.databases.mysql.connection import pymysql
from connleak.databases.mysql.external import external_mysql
from connleak.databases.mysql.local import local_mysql
from connleak.databases.mysql.reader import MysqlReader
from connleak.databases.postgres import open_postgres
from connleak.databases.postgres.connection import connect
from connleak.databases.postgres.external import external_postgres
from connleak.databases.postgres.reader import PostgresReader
from connleak.databases.registry import open_database, reader_of, run_sql, watched
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.plan import Database
from connleak.plan.addresses import parse_mysql, parse_postgres
from connleak.processes.app import App
from connleak.processes.supervisor import Supervisor
from support.needs_programs import OF_DATABASE, need
from support.plans import server_plan


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout


def containers() -> list[str]:
    return docker("ps", "-aq", "--filter", "name=connleak-").split()


@pytest.mark.needs("docker")
def test_a_container_is_an_own_server_and_is_removed(tmp_path: Path) -> None:
    plan = server_plan(database=Database(source="docker", max_connections=17))
    before = containers()
    with Supervisor() as supervisor, open_postgres(supervisor, plan, None, tmp_path) as server:
        assert len(containers()) == len(before) + 1
        assert (server.host, server.max_connections, server.own_database) == ("127.0.0.1", 17, True)
        with contextlib.closing(psycopg2.connect(server.url())) as app:
            with contextlib.closing(PostgresReader(server, 0.0)) as reader:
                backend = reader.read(full=True).backends[app.info.backend_pid]
            assert backend.client_port is None, "the engine's port, not the app's"
            with pytest.raises(psycopg2.Error, match="permission denied"):
                app.cursor().execute("CREATE ROLE other")
    assert containers() == before
    assert "connection authorized: user=app" in (tmp_path / "postgres.log").read_text()


@pytest.mark.needs("docker")
def test_the_error_for_a_missing_image_names_it(tmp_path: Path) -> None:
    plan = server_plan(database=Database(source="docker:postgres:no-such", max_connections=17))
    with (
        Supervisor() as supervisor,
        pytest.raises(Error, match="postgres:no-such could not be started"),
        open_postgres(supervisor, plan, None, tmp_path),
    ):
        pass
    assert containers() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py leaves its socket open
def test_the_error_without_an_engine_has_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    plan = server_plan(database=Database(source="docker"))
    with (
        Supervisor() as supervisor,
        pytest.raises(Error, match=r"no Docker engine answers at unix://.*No such file") as caught,
        open_postgres(supervisor, plan, None, tmp_path),
    ):
        pass
    assert caught.value.exit_code == 4
    del caught
    gc.collect()


@pytest.fixture
def with_tls(supervisor: Supervisor, tmp_path: Path) -> Iterator[str]:
    """The address of a server that requires TLS on TCP: the system's, since the wheel's has no TLS."""
    need("postgresql", "openssl")
    plan = server_plan(database=Database(source="system", max_connections=20))
    with open_postgres(supervisor, plan, None, tmp_path) as server:
        yield address_with_tls(server, tmp_path)


def address_with_tls(server: Server, tmp_path: Path) -> str:
    with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        data = Path(cursor.fetchone()[0])
        owner = data.stat()
        key, certificate = data / "server.key", data / "server.crt"
        subprocess.run(
            ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)],
            check=True, capture_output=True,
        )  # fmt: skip
        for path in (key, certificate):
            os.chown(path, owner.st_uid, owner.st_gid)
        key.chmod(0o600)
        (tmp_path / "root.crt").write_text(certificate.read_text())
        cursor.execute("SHOW hba_file")
        Path(cursor.fetchone()[0]).write_text("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        cursor.execute("ALTER SYSTEM SET ssl = on")
        cursor.execute("CREATE ROLE guest LOGIN CREATEDB CREATEROLE PASSWORD 'secret'")
        cursor.execute("SELECT pg_reload_conf()")
    options = f"sslmode=verify-full&sslrootcert={tmp_path / 'root.crt'}"
    return f"postgresql://guest:secret@127.0.0.1:{server.port}/app?{options}"


def test_the_app_gets_the_tls_options_of_an_address(with_tls: str) -> None:
    plain = with_tls.partition("?")[0] + "?sslmode=disable"
    with pytest.raises(Error, match="no encryption"), external_postgres(parse_postgres(plain, ()), ()):
        pass
    with external_postgres(parse_postgres(with_tls, ()), ()) as server:
        assert server.own_database
        assert server.environment()["PGSSLMODE"] == "verify-full"
        assert "ssl=verify-full" in server.url("postgresql+asyncpg")
        with contextlib.closing(psycopg2.connect(server.url())) as app:
            assert app.info.ssl_in_use
        without = server.url().partition("?")[0] + "?sslmode=disable"
        with pytest.raises(psycopg2.OperationalError, match="no encryption"):
            psycopg2.connect(without)


@pytest.fixture
def mariadb(supervisor: Supervisor, tmp_path: Path) -> Iterator[Server]:
    need("mariadb")
    with local_mysql(supervisor, server_plan(database=Database(kind="mysql", max_connections=30)), tmp_path) as server:
        yield server


def test_the_supervisor_copies_mariadbs_template(mariadb: Server, supervisor: Supervisor) -> None:
    """A copy that outlives connleak would create a folder that is never removed."""
    assert (supervisor.scratch / "cp.log").exists()


def databases(server: Server) -> set[str]:
    with contextlib.closing(pymysql().connect(**server.admin)) as root, root.cursor() as cursor:
        cursor.execute("SHOW DATABASES")
        return {name for (name,) in cursor.fetchall()}


def test_a_mariadb_at_an_address_gets_a_database_of_the_runs_own(mariadb: Server, tmp_path: Path) -> None:
    with contextlib.closing(pymysql().connect(**mariadb.admin, autocommit=True)) as root, root.cursor() as cursor:
        cursor.execute("CREATE USER 'boss'@'%' IDENTIFIED BY 's3cr%t'")
        cursor.execute("GRANT ALL ON *.* TO 'boss'@'%' WITH GRANT OPTION")
    before = databases(mariadb)
    address = f"mysql+pymysql://boss:s3cr%25t@127.0.0.1:{mariadb.port}/app?charset=utf8mb4"
    plan = server_plan(database=Database(kind="mysql", source="url"))
    with Supervisor() as supervisor, open_database(supervisor, plan, parse_mysql(address, ()), tmp_path) as server:
        assert server.own_database and server.max_connections == 30
        arguments = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
        app = pymysql().connect(**arguments, database=server.dbname)
        assert set(MysqlReader(server, 0.0).read(full=True).backends) == {app.thread_id()}
        assert server.url("mysql+pymysql").startswith(f"mysql+pymysql://{server.user}:")
        app.close()
    assert databases(mariadb) == before


def test_a_mariadb_user_without_rights_shares_its_database(mariadb: Server) -> None:
    address = f"mysql://app:{mariadb.password}@127.0.0.1:{mariadb.port}/app"
    with external_mysql(parse_mysql(address, ())) as server:
        assert not server.own_database
        assert server.dbname == "app" and server.notes


def test_a_mariadb_account_that_may_not_grant_leaves_no_user_behind(mariadb: Server) -> None:
    with contextlib.closing(pymysql().connect(**mariadb.admin, autocommit=True)) as root, root.cursor() as cursor:
        cursor.execute("CREATE USER 'half'@'%' IDENTIFIED BY 'secret'")
        cursor.execute("GRANT ALL ON *.* TO 'half'@'%'")
        cursor.execute("CREATE USER 'connleak_250101_000000_abcdef'@'%'")
        half = f"mysql://half:secret@127.0.0.1:{mariadb.port}/app"
        for _ in range(2):
            with external_mysql(parse_mysql(half, ())) as server:
                assert not server.own_database
                assert any("connleak_250101_000000_abcdef belongs to a run" in note for note in server.notes)
        cursor.execute("SELECT user FROM mysql.user WHERE user LIKE 'connleak\\_%'")
        assert cursor.fetchall() == (("connleak_250101_000000_abcdef",),)
    assert {name for name in databases(mariadb) if name.startswith("connleak_")} == set()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://u:p@127.0.0.1:3306", "has no database name"),
        ("postgresql://127.0.0.1/db", "is not of the form"),
        ("mysql://u:p[w@127.0.0.1/db", "is not of the form"),
        ("mysql://u:p@127.0.0.1/db?colour=red", "colour"),
        ("mysql://u:p@192.0.2.7/db", "192.0.2.7 is not on this machine"),
    ],
)
def test_an_address_of_mysql_that_cannot_be_used(address: str, words: str) -> None:
    with pytest.raises(Error, match=words):
        parse_mysql(address, ())


VARIABLES = {"PGHOST": "192.0.2.7", "PGHOSTADDR": "192.0.2.8", "PGSERVICE": "elsewhere"}


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("address", ["dbname=shop", "postgresql:///shop", "host=127.0.0.1 dbname=shop"])
@pytest.mark.parametrize("opens", [external_postgres, watched])
def test_a_host_in_libpqs_variables_is_checked_like_a_typed_one(
    opens: Callable, address: str, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "services").write_text("[elsewhere]\nhost=192.0.2.9\nhostaddr=192.0.2.9\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    monkeypatch.setenv(variable, VARIABLES[variable])
    typed = variable == "PGHOST" and "host=" in address
    words = {"PGHOST": "192.0.2.7 is not on this machine", "PGHOSTADDR": "192.0.2.8 is not on this machine"}
    expected = "the database refused" if typed else words.get(variable, "PGSERVICE names a service")
    with pytest.raises(Error, match=expected):
        parsed = parse_postgres(f"{address} port=1" if typed else address, ())
        opened = opens(parsed, ())
        with opened if opens is external_postgres else contextlib.nullcontext():
            pass


def test_a_service_in_an_address_is_refused() -> None:
    with pytest.raises(Error, match="the address names a service"):
        parse_postgres("service=elsewhere dbname=shop", ())


def test_the_app_gets_the_host_of_the_variables(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_postgres(supervisor, server_plan(), None, tmp_path) as own:
        for name, value in {"PGHOST": "localhost", "PGHOSTADDR": "127.0.0.1", "PGPORT": str(own.port)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PGUSER", own.user)
        monkeypatch.setenv("PGPASSWORD", own.password)
        server = watched(parse_postgres("dbname=app", ()), ())
        environment = server.environment()
        assert [environment[name] for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER")] == [
            "localhost", "127.0.0.1", str(own.port), own.user,
        ]  # fmt: skip


@pytest.mark.parametrize("kind", ["postgresql", "pgbouncer"])
def test_libpqs_variables_do_not_affect_a_local_server(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(*OF_DATABASE.get(kind, ()))
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    monkeypatch.setenv("PGCHANNELBINDING", "require")
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    script = tmp_path / "schema.sql"
    script.write_text("CREATE TABLE t (n int)")
    with (
        Supervisor() as supervisor,
        open_database(supervisor, server_plan(database=Database(kind=kind)), None, tmp_path) as server,
    ):
        run_sql(server, script)
        with contextlib.closing(reader_of(server, 0.0)) as reader:
            assert not reader.read(full=True).backends
        monkeypatch.setenv("PGSERVICE", "elsewhere")
        monkeypatch.delenv("PGCHANNELBINDING")
        monkeypatch.delenv("PGOPTIONS")
        env = App(supervisor, server_plan(), tmp_path, server.environment()).environment()
        program = "import psycopg2, sys; print(*(psycopg2.connect(a).info.port for a in ('', sys.argv[1])))"
        done = subprocess.run(
            [sys.executable, "-c", program, server.url()], env=env, capture_output=True, text=True, check=False
        )
        assert (done.stdout.split(), done.stderr) == ([str(server.port)] * 2, "")
