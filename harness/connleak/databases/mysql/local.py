"""A MariaDB server for one run, from the system's programs: the administrator by a private socket, the app by TCP."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connleak.databases.mysql.connection import pymysql
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.processes.accounts import Account, give, own_name, server_account
from connleak.processes.cache import build_once, cache_for
from connleak.processes.local_server import copy_folder, local_server, server_folder
from connleak.processes.supervisor import Supervisor

DATABASE = "app"
"""The app's database, and its user."""
INSTALL = "apt-get install mariadb-server"


@contextlib.contextmanager
def local_mysql(supervisor: Supervisor, plan: Plan, logs: Path) -> Iterator[Server]:
    """Start MariaDB on loopback from the cached template, and yield it with the app's user and database."""
    pymysql()
    program = find_program("mariadbd")
    account = server_account()
    folder = server_folder(supervisor, "my", account)
    copy_folder(supervisor, template_data(program, account), folder / "data")
    (folder / "tmp").mkdir(mode=0o700)  # a server that starts removes the temporary tables in its folder
    give(account, folder / "tmp", folder)
    admin = {"unix_socket": str(folder / "s"), "user": own_name()}
    with local_server(
        supervisor,
        "MariaDB",
        lambda port: command(program, folder, port, plan.database.max_connections),
        lambda _: accepts(admin),
        folder=folder,
        log=logs / "mariadb.log",
        timeout=30,
        account=account,
    ) as port:
        yield hand_over_database(admin, port, version_of(program))


def find_program(name: str) -> str:
    """Return the path of a program of MariaDB; raise Error with the package to install."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if found is None:
        raise Error(f"no MariaDB server is installed on this system ({name} is not on PATH)", INSTALL, exit_code=4)
    return found


def check_programs() -> None:
    """Raise Error with the package to install when the driver or the server is missing."""
    pymysql()
    find_program("mariadbd")


def version_of(program: str) -> str:
    """Return the server's version as it prints it, such as 10.11.14."""
    run = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return run.stdout.partition("Ver ")[2].partition("-")[0] or "unknown"


def template_data(program: str, account: Account | None) -> Path:
    """Return an initialised data folder, created on first use (about two seconds).

    The account that runs connleak is its administrator: by the socket only, and without a password.
    """
    owner = account.name if account else own_name()

    def initialise(folder: Path) -> None:
        give(account, folder)
        argv = [find_program("mariadb-install-db"), "--no-defaults", f"--datadir={folder / 'data'}"]
        argv += ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={own_name()}", "--skip-test-db"]
        argv += [f"--user={account.name}"] if account else []
        # a server that starts removes the temporary tables of others in a common folder
        environment = {**os.environ, "TMPDIR": str(folder)}
        run = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
        if run.returncode:
            raise Error(f"mariadb-install-db failed: {run.stderr.strip()[-600:]}", INSTALL, exit_code=4)
        os.chown(folder, os.geteuid(), os.getegid())  # the server's account cannot change it between runs

    name = f"mariadb-{version_of(program)}-{owner}"
    return build_once(cache_for(account) / f"{name}-2", initialise, replaces=f"{name}*") / "data"


def command(program: str, folder: Path, port: int, max_connections: int) -> list[str]:
    """Return the command that starts the server."""
    options = {
        "datadir": folder / "data",
        "socket": folder / "s",
        "port": port,
        "bind-address": "127.0.0.1",
        "max-connections": max_connections,
        "innodb-flush-log-at-trx-commit": 0,
        "innodb-buffer-pool-size": "32M",
        "innodb-log-file-size": "16M",
        "pid-file": folder / "pid",
        "tmpdir": folder / "tmp",
        "log-warnings": 2,
    }
    flags = ["--skip-log-bin", "--skip-name-resolve"]
    return [program, "--no-defaults", *(f"--{name}={value}" for name, value in options.items()), *flags]


def accepts(admin: dict[str, Any]) -> bool:
    """Return whether the server lets its administrator in."""
    with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL does not close a socket whose connection is refused
        if probe.connect_ex(admin["unix_socket"]):
            return False
    try:
        pymysql().connect(**admin).close()
    except pymysql().MySQLError:
        return False
    return True


def hand_over_database(admin: dict[str, Any], port: int, version: str) -> Server:
    """Create the app's database and ordinary user; return both as a Server."""
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
        own_server=True,
        own_database=True,
    )
