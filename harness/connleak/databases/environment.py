"""What an app of the user's own needs besides its start: its database's address, its set-up, and whether it works."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import psutil

from connleak.databases.server import SCHEMES, Server
from connleak.model.errors import Error, Unusable
from connleak.model.plan import Plan
from connleak.processes import hosts
from connleak.processes.app import App, Elsewhere, words_of
from connleak.processes.supervisor import Supervisor, wait_until_done
from connleak.processes.threads import Supervised
from connleak.recording.redaction import redact_input

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


def set_up(keeper: Supervisor, plan: Plan, app: App, folder: Path) -> None:
    """Runs the commands of --setup one after another, in the app's environment; raises Error with what one said."""
    for command in plan.setup:
        env = app.environment()
        child = keeper.start(
            f"--setup {redact_input(command)}",
            words_of(command, env),
            cwd=Path(plan.cwd),
            env=env,
            log=folder / "setup.log",
        )
        wait_until_done(keeper, child, SETUP_TIME)


def read_document(place: str, allowed: Sequence[str] = ()) -> dict[str, Any]:
    """Returns an OpenAPI document from a file or an address; raises Error when it is not to be had or no JSON."""
    hint = f"curl {place}" if "://" in place else f"less {place}"
    try:
        data = fetched(place, allowed) if "://" in place else first_bytes(Path(place))
        if len(data) > LARGEST_DOCUMENT:
            raise ValueError(f"it has more than {LARGEST_DOCUMENT} bytes")
        found = json.loads(data)
    except RecursionError:
        raise Error(f"--openapi {place}: its JSON is nested too deeply", hint, exit_code=4) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Error(f"--openapi {place} cannot be read as JSON: {error}", hint, exit_code=4) from None
    if not isinstance(found, dict):
        raise Error(f"--openapi {place} is no OpenAPI document", "connleak run ... --request /orders", exit_code=4)
    return found


def first_bytes(path: Path) -> bytes:
    """Returns the bytes of a file, of a larger one than a document may be only the first."""
    with path.open("rb") as file:
        return file.read(LARGEST_DOCUMENT + 1)


def fetched(url: str, allowed: Sequence[str]) -> bytes:
    """Returns what an address answers, without a proxy; redirects are followed only to hosts that may be loaded."""
    guard = hosts.Guard([*allowed, urlsplit(url).hostname or ""])
    for _ in range(REDIRECTS):
        status, location, data = got(url)
        if status in (301, 302, 303, 307, 308) and location:
            host = guard.refused_redirect(url, location)
            if host or urlsplit(urljoin(url, location)).scheme != "http":
                raise ValueError(f"it redirects to {host or location}, where it is not followed")
            url = urljoin(url, location)
            continue
        if status != 200:
            raise ValueError(f"the answer is {status}")
        return data
    raise ValueError(f"it redirects more than {REDIRECTS} times")


def got(url: str) -> tuple[int, str, bytes]:
    """Returns (status, where it redirects to, body) of one request, which takes a limited time in all."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=DOCUMENT_TIME)
    connection.connect()
    line = connection.sock  # the connection forgets it once the answer's head is there
    over, done = threading.Event(), threading.Event()

    def end() -> None:
        over.set()
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    def watch_the_time() -> None:
        if not done.wait(DOCUMENT_TIME):
            end()

    Supervised("document's clock", watch_the_time, lambda *_: end()).start()
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        data = answer.read(LARGEST_DOCUMENT + 1)
        if over.is_set():  # what there is may be its beginning only
            raise TimeoutError
        return answer.status, answer.headers.get("Location", ""), data
    except (OSError, http.client.HTTPException):
        if over.is_set():
            raise ValueError(f"it took more than {DOCUMENT_TIME:.0f} s") from None
        raise
    finally:
        done.set()
        connection.close()


def need_answers(plan: Plan, folder: Path) -> None:
    """Raises Error with the app's first traceback when more than a fifth of its answers are server errors."""
    rows = [line for line in (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines() if line]
    failed = sum(bool(re.search(r'"error": ?"[^"]*\b5\d\d\b', row)) for row in rows)
    if len(rows) < 10 or failed <= TOO_MANY_ERRORS * len(rows):
        return
    told = "\n".join(f"    {line}" for line in first_traceback(folder / "app.log")) or "    (app.log has no traceback)"
    raise Unusable(
        f"{failed} of the first {len(rows)} answers are server errors; the app's first traceback:\n{told}",
        f"less {folder / 'app.log'}, then --setup, --sql or --env for what it misses",
        exit_code=4,
    )


def first_traceback(log: Path) -> list[str]:
    """Returns the lines of the first traceback in a log, its last ones when it is long."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    begin = next((n for n, line in enumerate(lines) if "Traceback (most recent call last)" in line), None)
    if begin is None:
        return []
    end = begin + 1
    while end < len(lines) and (lines[end].startswith((" ", "\t")) or not lines[end].strip()):
        end += 1
    return lines[begin : end + 1][-LONGEST_TRACEBACK:]


def need_sessions(plan: Plan, app: App | Elsewhere, server: Server, requests: int) -> None:
    """Raises Error that says where the app's sockets go instead: it answered, and opened no session on our server."""
    mine = set(app.processes())
    here = {server.port, *(int(port) for port in re.findall(r":(\d+)", plan.url))}
    peers = {
        f"{connection.raddr.ip}:{connection.raddr.port}"
        for connection in psutil.net_connections("tcp")
        if connection.pid in mine
        and connection.raddr
        and connection.raddr.port not in here
        and not (connection.laddr and connection.laddr.port in here)
    }
    where = f"its sockets go to {', '.join(sorted(peers)[:3])}" if peers else "it has no socket to any other server"
    raise Unusable(
        f"{requests} requests were answered, and your app opened no session on this server; {where}",
        "connleak run ... --env NAME='{url}', with the name of the variable that your app reads",
        exit_code=4,
    )
