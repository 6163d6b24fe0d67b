"""The files and servers of a run, closed to other local users; and the account of a run: its umask, its name."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pymysql
import pytest
from connleak.collectors.probe_collector import Collector
from connleak.databases.postgres.binaries import find_programs, reachable_programs, template_data
from connleak.databases.postgres.connection import connect, create_role
from connleak.databases.registry import open_database
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.plan import Database
from connleak.model.recording import Machine
from connleak.processes.accounts import Account, server_account
from connleak.processes.services import open_services
from connleak.processes.supervisor import Supervisor
from connleak.recording.writer import Writer
from support.needs_programs import OF_DATABASE, looked, need
from support.plans import server_plan
from support.stranger import (
    as_stranger,
    begun_as_stranger,
    enterable,
    everything_in,
    readable,
    seen_in_proc,
    watching,
    words_of,
    writable,
)

as_root = pytest.mark.needs("root")
PGBOUNCER = pytest.param("pgbouncer", marks=pytest.mark.needs("pgbouncer"))
MARIADB = pytest.param("mysql", marks=pytest.mark.needs("mariadb"))
ROLES = ("connleak", "postgres", "app", "root", "nobody")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that all users can pass, with a cache: only connleak's own modes protect its contents."""
    folder = Path(tempfile.mkdtemp(prefix="accounts-", dir="/var/tmp"))
    folder.chmod(0o755)
    monkeypatch.setenv("CONNLEAK_CACHE", str(folder / "cache"))
    before = os.umask(0o022)
    yield folder
    os.umask(before)
    shutil.rmtree(folder)


@contextlib.contextmanager
def everything_up(place: Path, kind: str) -> Iterator[tuple[Supervisor, Server, list[str]]]:
    """A run with servers, collector, Redis if it is installed, and an app; yield the server and the paths on disk."""
    need(*OF_DATABASE.get(kind, ()))
    run = place / "run"
    with Supervisor() as supervisor, Writer(run, server_plan(), Machine()) as writer:
        folders = {*Path("/dev/shm").glob("connleak-*")}
        plan = server_plan(database=Database(kind=kind, max_connections=20))
        with (
            open_database(supervisor, plan, None, run) as server,
            open_services(supervisor, [] if looked("redis").missing else ["redis"], run),
            Collector(writer, supervisor.scratch, time.monotonic(), run) as collector,
        ):
            environment = {**server.environment(), **collector.environment()}
            supervisor.start("app", ["sleep", "300"], cwd=run, env=environment, log=run / "app.log")
            own = {*Path("/dev/shm").glob("connleak-*")} - folders
            yield supervisor, server, everything_in([place / "cache", run, supervisor.scratch, *own])


def programs_aside(paths: list[str], place: Path) -> list[str]:
    return [path for path in paths if not path.startswith(str(place / "cache" / "programs-"))]


def enters(server: Server, user: str, password: str) -> bool:
    """Return whether a database of a run, or the server behind its pooler, admits a user by TCP."""
    for behind in filter(None, (server, server.behind)):
        where = {"host": behind.host, "port": behind.port, "user": user, "password": password}
        try:
            if behind.kind == "mysql":
                pymysql.connect(**where).close()
            else:
                psycopg2.connect(**where, dbname="app").close()
            return True
        except (psycopg2.Error, pymysql.MySQLError):
            continue
    return False


@as_root
@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("kind", ["postgresql", PGBOUNCER, MARIADB])
def test_another_local_user_can_read_nothing_of_a_run(kind: str, umask: int, place: Path) -> None:
    os.umask(umask)
    with everything_up(place, kind) as (_, server, paths):
        assert len(paths) > 400, "what is looked at is there"
        assert readable(paths), "the attack can read what it is allowed to"
        assert as_stranger(writable, paths) == []
        assert as_stranger(readable, programs_aside(paths, place)) == []
        assert as_stranger(enterable, paths) == []
        text = as_stranger(seen_in_proc)
        assert "postgres" in text or "mariadbd" in text
        assert server.password not in text
        assert as_stranger(tries_everybody, server, programs_aside(paths, place)) == []


def tries_everybody(server: Server, paths: list[str]) -> list[str]:
    guesses = ["", *ROLES, *words_of(paths)]
    return [f"{user} with {word!r}" for user in ROLES for word in guesses if enters(server, user, word)]


@as_root
@pytest.mark.parametrize("kind", ["postgresql", MARIADB])
def test_no_password_lies_open_while_a_template_is_built(kind: str, place: Path) -> None:
    until = place / "built"
    found = begun_as_stranger(watching, place / "cache", until)
    try:
        with everything_up(place, kind) as (_, server, _):
            until.touch()
            words = ["", *found()]
            entered = [word for word in words for user in ("connleak", "root") if enters(server, user, word)]
    finally:
        until.touch()
    assert entered == []


@pytest.mark.needs("mariadb", "root")
def test_mariadb_has_no_account_but_the_apps_that_tcp_lets_in(place: Path) -> None:
    with everything_up(place, "mysql") as (_, server, _):
        with contextlib.closing(pymysql.connect(**server.admin)) as admin, admin.cursor() as cursor:
            cursor.execute("SELECT user, host FROM mysql.global_priv")
            accounts = set(cursor.fetchall())
            cursor.execute("SELECT current_user()")
            assert cursor.fetchone() == ("root@localhost",)
        assert {host for user, host in accounts if user != "app"} == {"localhost"}
        assert ("app", "127.0.0.1") in accounts
        assert all(user for user, _ in accounts), "nobody is anonymous"
        for user in ("root", "mariadb.sys", ""):
            assert not enters(server, user, ""), user


def test_only_the_account_that_runs_connleak_is_superuser(place: Path) -> None:
    with everything_up(place, "postgresql") as (_, server, _):
        admin = {**server.admin, "connect_timeout": 5}
        psycopg2.connect(**admin).close()
        with pytest.raises(psycopg2.OperationalError, match=r"pg_hba\.conf rejects"):
            psycopg2.connect(**{**admin, "host": "127.0.0.1"})
        with contextlib.closing(psycopg2.connect(**admin)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT rolname FROM pg_authid WHERE rolsuper AND (rolpassword IS NOT NULL OR rolname <> %s)",
                ["connleak"],
            )
            assert cursor.fetchall() == []
            cursor.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
            assert cursor.fetchone()[0].startswith("SCRAM-SHA-256$")


@pytest.mark.needs("postgresql", "root")
def test_not_even_the_servers_own_account_is_a_superuser_of_its_database(place: Path) -> None:
    account = server_account()
    assert account is not None
    with everything_up(place, "postgresql") as (_, server, _):
        argv = [
            "psql",
            "-h",
            str(server.admin["host"]),
            "-p",
            str(server.port),
            "-U",
            "connleak",
            "-c",
            "SELECT 1",
            "app",
        ]
        result = subprocess.run(as_account(account, argv), capture_output=True, text=True, check=False, cwd="/")
        assert "Peer authentication failed" in result.stderr


def as_account(account: Account, argv: list[str]) -> list[str]:
    return ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", *argv]


def test_the_apps_password_comes_into_no_log_of_the_server(place: Path) -> None:
    with everything_up(place, "postgresql") as (_, server, _):
        with contextlib.closing(connect(server.admin, "app")) as admin:
            admin.execute("SET log_statement = 'all'")
            create_role(admin, "another", "its password")
        assert enters(server, "another", "its password")
        log = (place / "run" / "postgres.log").read_text()
    assert "CREATE ROLE" in log
    assert "its password" not in log


@as_root
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_copied_programs_can_be_run_by_the_servers_account_and_changed_by_no_other(umask: int, place: Path) -> None:
    account = server_account()
    assert account is not None
    os.umask(umask)
    install = place / "closed" / "pginstall"
    (install / "bin").mkdir(parents=True)
    (install / "share").mkdir(mode=0o777)
    program, data = install / "bin" / "postgres", install / "share" / "postgres.bki"
    program.write_text("#!/bin/sh\necho runs\n")
    program.chmod(0o700)
    data.write_text("words")
    (place / "closed").chmod(0o700)
    copied = reachable_programs(install / "bin", account)
    assert copied != install / "bin"
    run = subprocess.run(
        as_account(account, [str(copied / "postgres")]), capture_output=True, text=True, check=True, cwd="/"
    )
    assert run.stdout == "runs\n"
    for path in everything_in([place / "cache"]):
        assert not stat.S_IMODE(Path(path).stat().st_mode) & 0o022, path
    assert as_stranger(readable, [str(copied.parent / "share" / "postgres.bki")])


SCRIPT = """
    import contextlib, os, pathlib, sys, tempfile
    import psycopg2
    from support.plans import server_plan
    from connleak.model.plan import Database
    from connleak.databases.registry import open_database
    from connleak.processes.supervisor import Supervisor

    os.umask(int(sys.argv[1], 8))
    kind = sys.argv[2]
    folder = pathlib.Path(tempfile.mkdtemp())
    plan = server_plan(database=Database(kind=kind, max_connections=20))
    for _ in range(2):  # the second one uses the template of the first
        with Supervisor() as supervisor, open_database(supervisor, plan, None, folder) as server:
            if kind == "mysql":
                import pymysql as driver
                where = dict(host=server.host, port=server.port, user=server.user, password=server.password)
            else:
                import psycopg2 as driver
                where = dict(dsn=server.url())
            driver.connect(**where).close()
    print("runs as", os.geteuid())
"""


def run_as(account: list[str], umask: str, kind: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    argv = [*account, sys.executable, "-c", textwrap.dedent(SCRIPT), umask, kind]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


ORDINARY = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
"""A namespace in which root's processes have an ordinary account's uid, and none of root's rights."""


@pytest.mark.parametrize(
    "account", [[], pytest.param(ORDINARY, marks=pytest.mark.needs("user namespaces"))], ids=["our own", "nobody"]
)
@pytest.mark.parametrize(("kind", "umask"), [("postgresql", "027"), ("postgresql", "077"), ("mysql", "077")])
def test_servers_start_under_a_narrow_umask(kind: str, account: list[str], umask: str, place: Path) -> None:
    need(*OF_DATABASE.get(kind, ()))
    result = run_as(account, umask, kind)
    assert result.stdout.startswith("runs as"), result.stderr


@pytest.mark.needs("user namespaces")
def test_the_error_for_an_account_without_a_name_has_the_next_step(place: Path) -> None:
    result = run_as(["unshare", "--user", "--map-user=60123"], "022", "postgresql")
    assert "no account of this system has the uid 60123" in result.stderr


@as_root
def test_a_cache_that_the_servers_account_cannot_pass_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "closed").mkdir(mode=0o700)
    monkeypatch.setenv("CONNLEAK_CACHE", str(place / "closed" / "cache"))
    with pytest.raises(Error, match="cannot pass through the cache folder"):
        template_data(find_programs("embedded"), server_account())
