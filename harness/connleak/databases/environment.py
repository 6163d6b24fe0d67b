"""The address of a session's database in the environment of an app of the user's, in the form that the app reads."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from connleak.databases.server import SCHEMES, Server
from connleak.model.plan import Plan

ADDRESS = {
    "postgresql": re.compile(r"^((?:postgres|postgresql|postgis|psql)(?:\+\w+)?)://", re.I),
    "mysql": re.compile(r"^((?:mysql2?|mariadb)(?:\+\w+)?)://", re.I),
}
"""The beginning of an address, up to its scheme, by the scheme without a driver."""
ASYNC = {"postgresql": "asyncpg", "mysql": "aiomysql"}
PLACEHOLDER = re.compile(r"\{(url|sqlalchemy_url|async_url|host|port|user|password|dbname)\}")
PRINT_SCHEME = """
from importlib.metadata import version
from importlib.util import find_spec
new = find_spec("sqlalchemy") and tuple(map(int, version("sqlalchemy").split(".")[:2])) >= (2, 1)
print("postgresql+psycopg2" if new and find_spec("psycopg2") and not find_spec("psycopg") else "postgresql")
"""
"""A program that prints the scheme for the packages of the interpreter that runs it."""
SCHEME_TIME = 30.0
"""Seconds that it may take."""


def plain_scheme(server: Server) -> str:
    """Return the scheme of the server's addresses without a driver: postgresql or mysql."""
    return SCHEMES[server.kind].partition("+")[0]


def placeholders(server: Server) -> dict[str, str]:
    """Return the values of the placeholders in --env, by name."""
    plain = plain_scheme(server)
    return {
        "url": server.url(plain),
        "sqlalchemy_url": server.url(SCHEMES[server.kind]),
        "async_url": server.url(f"{plain}+{ASYNC[plain]}"),
        "host": server.host,
        "port": str(server.port),
        "user": server.user,
        "password": server.password,
        "dbname": server.dbname,
    }


def filled(env: Mapping[str, str], server: Server) -> dict[str, str]:
    """Return the variables of --env with the parts of the database's address in place of {url} and the like."""
    values = placeholders(server)
    return {name: PLACEHOLDER.sub(lambda match: values[match[1]], value) for name, value in env.items()}


def redirected(environ: Mapping[str, str], server: Server, scheme: str = "postgresql") -> dict[str, str]:
    """Return DATABASE_URL, and the variables that hold an address of such a database, with the server's address.

    Each keeps its scheme: psycopg2 and asyncpg refuse SQLAlchemy's `postgresql+driver://`, and SQLAlchemy's async
    engines need it. `scheme` is that of a DATABASE_URL that is not set yet.
    """
    address = ADDRESS[plain_scheme(server)]
    found = {"DATABASE_URL": server.url(scheme)}
    for name, value in environ.items():
        match = address.match(value) if name.upper().endswith(("_URL", "_URI", "_DSN")) else None
        if match:
            found[name] = server.url(match[1])
    return found


def scheme_for(plan: Plan) -> str:
    """Return the scheme that the packages in the app's environment most likely accept.

    That is plain `postgresql://`, which drivers and SQLAlchemy accept; but SQLAlchemy 2.1 then uses psycopg, so if only
    psycopg2 is installed, the scheme must name it.
    """
    if plan.database.kind == "mysql":
        return SCHEMES["mysql"]
    first = shlex.split(plan.app)[0]
    interpreter = plan.interpreter or (first if Path(first).name.startswith("python") else "") or sys.executable
    argv = [interpreter, "-c", PRINT_SCHEME]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SCHEME_TIME)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # the start of the app reports the cause
        return "postgresql"
    return done.stdout.strip() if done.returncode == 0 else "postgresql"
