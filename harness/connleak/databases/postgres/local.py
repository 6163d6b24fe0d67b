"""A PostgreSQL server for one run, from programs on this machine: the superuser by a private socket, the app by TCP."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from connleak.databases.postgres.binaries import find_programs, reachable_programs, template_data, version_of
from connleak.databases.postgres.connection import DATABASE, SETTINGS, SUPERUSER, connect, hand_over_database
from connleak.databases.postgres.libpq import without_environment
from connleak.databases.server import Server
from connleak.model.plan import Plan
from connleak.processes.accounts import Account, give, own_name, server_account, write_private
from connleak.processes.local_server import copy_folder, local_server, server_folder
from connleak.processes.supervisor import Supervisor

RULES = {
    "pg_hba.conf": (
        "local all {superuser} peer map=connleak\n"
        "local all all reject\n"
        "host all {superuser} all reject\n"
        "host all all 127.0.0.1/32 scram-sha-256\n"
    ),
    "pg_ident.conf": 'connleak "{account}" {superuser}\n',
}
"""Client authentication: the account that runs connleak is superuser by the private socket; the app uses TCP."""


@contextlib.contextmanager
def local_postgres(supervisor: Supervisor, plan: Plan, logs: Path) -> Iterator[Server]:
    """Start a server on loopback from the cached template, and yield it with the app's role and database."""
    account = server_account()
    programs = reachable_programs(find_programs(plan.database.source), account)
    folder = server_folder(supervisor, "pg", account)
    copy_folder(supervisor, template_data(programs, account), folder / "data")
    settings = server_settings(folder, account, version_of(programs), plan.database.max_connections)
    give(account, folder)

    def arguments(port: int) -> dict[str, Any]:
        socket = {"host": str(folder), "port": port}
        return without_environment({**socket, "user": SUPERUSER, "application_name": "connleak"})

    with local_server(
        supervisor,
        "PostgreSQL",
        lambda port: command(programs / "postgres", folder, port, settings),
        lambda port: accepts(arguments(port)),
        folder=folder,
        log=logs / "postgres.log",
        timeout=30,
        stop_signal=signal.SIGINT,
        account=account,
    ) as port:
        yield hand_over_database(arguments(port), plan.database.source)


def server_settings(folder: Path, account: Account | None, version: str, max_connections: int) -> dict[str, str]:
    """Write the rules of client authentication into the folder; return all settings of the server."""
    for name, text in RULES.items():
        write_private(folder / name, text.format(superuser=SUPERUSER, account=own_name()))
        give(account, folder / name)
    settings = {
        **SETTINGS,
        "max_connections": str(max_connections),
        "hba_file": str(folder / "pg_hba.conf"),
        "ident_file": str(folder / "pg_ident.conf"),
        "unix_socket_permissions": "0700",
    }
    if int(version.split(".")[0]) >= 16:
        settings["scram_iterations"] = "1"  # the password is random and lives for one run: slow hashing adds only load
    return settings


def command(program: Path, folder: Path, port: int, settings: dict[str, str]) -> list[str]:
    """Return the command that starts the server."""
    argv = [str(program), "-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
    return argv + [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def accepts(arguments: dict[str, Any]) -> bool:
    """Return whether the server lets the superuser in."""
    try:
        connect(arguments, DATABASE).close()
    except psycopg.OperationalError:
        return False
    return True
