"""What an app of the user's own needs besides its start: its database's address, its set-up, and whether it works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from connleak.databases.server import SCHEMES, Server
from connleak.model.plan import Plan

SCHEME = {
    "postgresql": re.compile(r"^((?:postgres|postgresql|postgis|psql)(?:\+\w+)?)://", re.I),
    "mysql": re.compile(r"^((?:mysql2?|mariadb)(?:\+\w+)?)://", re.I),
}
ASYNC = {"postgresql": "asyncpg", "mysql": "aiomysql"}
FORMS = re.compile(r"\{(url|sqlalchemy_url|async_url|host|port|user|password|dbname)\}")
SCHEME_ASKED = """
from importlib.metadata import version
from importlib.util import find_spec
new = find_spec("sqlalchemy") and tuple(map(int, version("sqlalchemy").split(".")[:2])) >= (2, 1)
print("postgresql+psycopg2" if new and find_spec("psycopg2") and not find_spec("psycopg") else "postgresql")
"""
SCHEME_TIME = 30.0
SETUP_TIME = 300.0
LARGEST_DOCUMENT = 10_000_000
DOCUMENT_TIME = 10.0
REDIRECTS = 5
TOO_MANY_ERRORS = 0.2
LONGEST_TRACEBACK = 30
"""Lines of the app's first traceback that an error shows."""


def plain_scheme(server: Server) -> str:
    """Returns the scheme of the server's addresses without a driver: postgresql or mysql."""
    return SCHEMES[server.kind].partition("+")[0]


def addresses(server: Server) -> dict[str, str]:
    """Returns what stands for the database in a value of --env, by name."""
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
    """Returns the variables of --env with the database's parts in the place of {url} and the like."""
    known = addresses(server)
    return {name: FORMS.sub(lambda match: known[match[1]], value) for name, value in env.items()}


def redirected(environ: Mapping[str, str], server: Server, scheme: str = "postgresql") -> dict[str, str]:
    """Returns the variables that already hold an address of such a database, with ours in its scheme.

    psycopg2 and asyncpg refuse SQLAlchemy's `postgresql+driver://`, and SQLAlchemy's async engines need it; so the
    scheme that is there is kept. `scheme` is that of DATABASE_URL where the app has none.
    """
    known = SCHEME[plain_scheme(server)]
    found = {"DATABASE_URL": server.url(scheme)}
    for name, value in environ.items():
        match = known.match(value) if name.upper().endswith(("_URL", "_URI", "_DSN")) else None
        if match:
            found[name] = server.url(match[1])
    return found


def scheme_for(plan: Plan) -> str:
    """Returns the scheme of an address that most of what an app's environment has can read.

    That is plain `postgresql://`, which drivers and SQLAlchemy take; but SQLAlchemy 2.1 then wants psycopg, and where
    only psycopg2 is there it must be told so.
    """
    if plan.database.kind == "mysql":
        return SCHEMES["mysql"]
    first = shlex.split(plan.app)[0]
    interpreter = plan.interpreter or (first if Path(first).name.startswith("python") else "") or sys.executable
    argv = [interpreter, "-c", SCHEME_ASKED]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SCHEME_TIME)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # what is wrong with it, the app's start says
        return "postgresql"
    return done.stdout.strip() if done.returncode == 0 else "postgresql"
