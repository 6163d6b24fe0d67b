"""MariaDB for one run: a server of ours from the system's programs, and the reader of its sessions."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connleak.databases.accounts import Account, copy, give, own_name, server_account, server_folder
from connleak.databases.postgres.binaries import cache_for
from connleak.databases.server import NotAnswering, Reading, Server
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import Backend
from connleak.processes.cache import build_once
from connleak.processes.supervisor import Child, Keeper, free_port, wait_until_ready

DATABASE = "app"
INSTALL = "apt-get install mariadb-server"
COUNTERS_EVERY = 1.0
TRANSACTIONS_EVERY = 0.25
"""Seconds between two readings of INNODB_TRX, which is renewed only when nobody has read it for 0.1 s."""
SESSIONS = """
SELECT ID, HOST, COMMAND, INFO, USER FROM information_schema.PROCESSLIST
 WHERE DB = %s AND ID <> CONNECTION_ID()
"""
DENIED = 1227
TRANSACTIONS = "SELECT trx_mysql_thread_id, trx_id, trx_started FROM information_schema.INNODB_TRX"


def pymysql() -> Any:
    """Returns the driver, which only a run on MariaDB needs."""
    try:
        import pymysql as driver
    except ImportError:
        raise Error("reading MariaDB takes PyMySQL", "pip install 'connleak[lab]'", exit_code=4) from None
    return driver


def find_program(name: str) -> str:
    """Returns the path of a program of MariaDB's; raises Error with what to install."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if found is None:
        raise Error(f"no MariaDB server is installed on this system ({name} is not on PATH)", INSTALL, exit_code=4)
    return found


def version_of(program: str) -> str:
    """Returns the server's version as it prints it, such as 10.11.14."""
    run = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return run.stdout.partition("Ver ")[2].partition("-")[0] or "unknown"


def template_data(program: str, account: Account | None) -> Path:
    """Returns an initialised data folder, made on first use (about two seconds).

    Its administrator is the account that runs connleak: by the socket alone, and without a password.
    """
    owner = account.name if account else own_name()

    def initialise(folder: Path) -> None:
        give(account, folder)
        argv = [find_program("mariadb-install-db"), "--no-defaults", f"--datadir={folder / 'data'}"]
        argv += ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={own_name()}", "--skip-test-db"]
        argv += [f"--user={account.name}"] if account else []
        # a server that starts removes what another one has in a common folder for temporary tables
        environment = {**os.environ, "TMPDIR": str(folder)}
        run = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
        if run.returncode:
            raise Error(f"mariadb-install-db failed: {run.stderr.strip()[-600:]}", INSTALL, exit_code=4)
        os.chown(folder, os.geteuid(), os.getegid())  # so that its account cannot change it between runs

    name = f"mariadb-{version_of(program)}-{owner}"
    return build_once(cache_for(account) / f"{name}-2", initialise, replaces=f"{name}*") / "data"


@contextlib.contextmanager
def own_mysql(keeper: Keeper, plan: Plan, logs: Path) -> Iterator[Server]:
    """Starts MariaDB on loopback: its administrator by a private socket, the app's user by TCP."""
    pymysql()
    program = find_program("mariadbd")
    account = server_account()
    folder = server_folder(keeper, "my", account)
    copy(keeper, template_data(program, account), folder / "data")
    (folder / "tmp").mkdir(mode=0o700)  # its own: a server that starts removes what another has in a common one
    give(account, folder / "tmp", folder)
    child, port = start_server(keeper, program, folder, plan.database.max_connections, logs, account)
    try:
        yield hand_over_database({"unix_socket": str(folder / "s"), "user": own_name()}, port, version_of(program))
    finally:
        keeper.stop(child)


def start_server(
    keeper: Keeper, program: str, folder: Path, max_connections: int, logs: Path, account: Account | None
) -> tuple[Child, int]:
    """Returns the running server and its port."""
    port = free_port()
    argv = [program, "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={folder / 's'}", f"--port={port}"]
    argv += [
        "--bind-address=127.0.0.1",
        f"--max-connections={max_connections}",
        "--skip-log-bin",
        "--skip-name-resolve",
    ]
    argv += ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M"]
    argv += [f"--pid-file={folder / 'pid'}", f"--tmpdir={folder / 'tmp'}", "--log-warnings=2"]
    child = keeper.start(
        "MariaDB",
        argv,
        cwd=folder,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        log=logs / "mariadb.log",
        stop_signal=signal.SIGTERM,
        account=(account.uid, account.gid) if account else None,
    )

    def ready() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL does not close one that is refused
            if probe.connect_ex(str(folder / "s")):
                return False
        try:
            pymysql().connect(unix_socket=str(folder / "s"), user=own_name()).close()
        except pymysql().MySQLError:
            return False
        return True

    wait_until_ready(keeper, child, ready, timeout=30)
    keeper.need(child)
    return child, port


def hand_over_database(admin: dict[str, Any], port: int, version: str) -> Server:
    """Creates the app's database and ordinary user; returns what the app will see."""
    password = secrets.token_urlsafe(12)
    with contextlib.closing(pymysql().connect(**admin, autocommit=True)) as connection:
        cursor = connection.cursor()
        cursor.execute(f"CREATE DATABASE {DATABASE}")
        cursor.execute(f"CREATE USER '{DATABASE}'@'127.0.0.1' IDENTIFIED BY %s", [password])
        cursor.execute(f"GRANT ALL ON {DATABASE}.* TO '{DATABASE}'@'127.0.0.1'")
        cursor.execute("SELECT @@max_connections")
        limit = int(cursor.fetchone()[0])
    return Server(
        kind="mysql",
        source="system",
        version=version,
        max_connections=limit,
        reserved=0,
        host="127.0.0.1",
        port=port,
        user=DATABASE,
        password=password,
        dbname=DATABASE,
        admin={**admin, "database": DATABASE},
        ours=True,
        own_database=True,
    )


def run_sql(server: Server, path: Path) -> None:
    """Runs an SQL file as the app's user, before the app starts."""
    driver = pymysql()
    try:
        connection = driver.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=server.dbname,
            autocommit=True,
            client_flag=driver.constants.CLIENT.MULTI_STATEMENTS,
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(path.read_text(encoding="utf-8"))
            while cursor.nextset():
                pass
    except driver.MySQLError as error:
        raise Error(f"{path} failed: {error}", f"$EDITOR {path}") from None


class MysqlReader:
    """One autocommit connection; a session's begin and its transaction's are when they were first seen.

    PROCESSLIST tells no session's begin, and INNODB_TRX a transaction's in whole seconds. What a sleeping session
    ran last the server does not tell either.
    """

    def __init__(self, server: Server, origin: float) -> None:
        self._admin = server.admin
        self._origin = origin
        self._connection: Any = None
        self._known: dict[int, Backend] = {}
        self._transactions: dict[int, tuple[str, float]] = {}
        self._transactions_at = -TRANSACTIONS_EVERY
        self._counted_at = -COUNTERS_EVERY
        self._blind = False

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None

    def read(self, *, full: bool) -> Reading:
        """Returns the sessions in the app's database; raises NotAnswering."""
        try:
            if self._connection is None:
                self._connection = pymysql().connect(**self._admin, autocommit=True, read_timeout=2)
            began = time.monotonic()
            with self._connection.cursor() as cursor:
                cursor.execute(SESSIONS, [self._admin["database"]])
                rows = cursor.fetchall()
                t = (began + time.monotonic()) / 2
                self._read_transactions(cursor, t)
                counters = self._once_a_second(cursor, t)
        except pymysql().MySQLError as error:
            self.close()
            raise NotAnswering(str(error)) from error
        self._known = {row[0]: self._backend(row, round(t - self._origin, 3)) for row in rows}
        return Reading(t, self._known, None if full else frozenset(self._known), counters)

    def _read_transactions(self, cursor: Any, now: float) -> None:
        """Keeps, of each open transaction, when it was first seen."""
        if self._blind or now - self._transactions_at < TRANSACTIONS_EVERY:
            return
        self._transactions_at = now
        try:
            cursor.execute(TRANSACTIONS)
        except pymysql().OperationalError as error:
            if error.args[0] != DENIED:
                raise
            self._blind = True  # this user may not see who is in a transaction
            return
        before, t = self._transactions, round(now - self._origin, 3)
        self._transactions = {}
        for pid, number, started in cursor.fetchall():
            key = f"{number} {started}"
            known = before.get(pid)
            self._transactions[pid] = known if known is not None and known[0] == key else (key, t)

    def _once_a_second(self, cursor: Any, now: float) -> dict[str, float]:
        if now - self._counted_at < COUNTERS_EVERY:
            return {}
        self._counted_at = now
        cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN ('Connections', 'Aborted_clients')")
        found = {name: float(value) for name, value in cursor.fetchall()}
        return {"sessions": found.get("Connections", 0.0), "sessions_abandoned": found.get("Aborted_clients", 0.0)}

    def _backend(self, row: tuple[Any, ...], t: float) -> Backend:
        pid, host, command, query, user = row
        before = self._known.get(pid)
        _, since = self._transactions.get(pid, ("", None))
        state: str | None = "active" if command != "Sleep" else "idle in transaction" if since is not None else "idle"
        if self._blind and state == "idle":
            state = None
        return Backend(
            pid,
            before.started if before else t,
            "",
            int(host.rpartition(":")[2]) if ":" in host else None,
            state,
            before.state_since if before and before.state == state else t,
            since,
            None,
            (query or "")[:200] or (before.query if before else ""),
            user,
        )
