"""The interface of all kinds of database: `Server` (its addresses) and `Reader` (its sessions now)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from connleak.model.errors import Error
from connleak.model.recording import Backend
from connleak.processes import poll

SCHEMES = {
    "postgresql": "postgresql+psycopg2",
    "pgbouncer": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "sqlite": "sqlite",
}
"""SQLAlchemy's URL scheme, by kind."""


@dataclass(frozen=True)
class Server:
    """A running database: the app's address of it, and the sampler's."""

    source: str
    version: str
    max_connections: int
    reserved: int
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dbname: str
    """The name of the database; for SQLite the path of its file."""
    admin: dict[str, Any] = field(repr=False)
    """Arguments of the driver's connect() for the sampler: a superuser if this run started the server."""
    own_server: bool
    """Whether this run started the server: then all sessions on it are the app's."""
    own_database: bool
    """Whether this run created the database: then all sessions of it are the app's."""
    kind: str = "postgresql"
    """postgresql, pgbouncer, mysql or sqlite."""
    notes: tuple[str, ...] = ()
    app_name: str = field(default_factory=lambda: f"connleak-app-{secrets.token_hex(3)}")
    """The application_name of the app's sessions through libpq; asyncpg ignores PGAPPNAME."""
    behind: Server | None = None
    """The server behind a pooler; None for other servers."""
    proxied: bool = False
    """Whether a container engine forwards the connections: client_port is then the engine's port, not the app's."""
    tls: dict[str, str] = field(default_factory=dict)
    """TLS options of an external address, which the app's connections need, too."""

    def url(self, scheme: str = "postgresql") -> str:
        """Return the app's address of the database as a URL with the password."""
        if self.kind == "sqlite":
            return f"{scheme}:///{quote(self.dbname)}"
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        user = quote(self.user, safe="")
        options = self.tls
        if scheme.endswith("+asyncpg") and "sslmode" in options:  # SQLAlchemy passes asyncpg's own option name on
            options = {"ssl": options["sslmode"]}
        query = f"?{urlencode(options)}" if options else ""
        return f"{scheme}://{user}{secret}@{self.host}:{self.port}/{quote(self.dbname, safe='')}{query}"

    def environment(self) -> dict[str, str]:
        """Return the environment variables with the address for the app: DATABASE_URL, and libpq's PG* or MYSQL_*."""
        return {"DATABASE_URL": self.url(SCHEMES[self.kind]), **VARIABLES[self.kind](self)}

    def probe_environment(self) -> dict[str, str]:
        """Return the environment variables by which the probe numbers sessions whose pid the driver does not have."""
        if self.kind == "sqlite":
            return {"CONNLEAK_SQLITE": self.dbname}
        return {"CONNLEAK_BACKEND": "port"} if self.kind == "pgbouncer" else {}


def libpq_variables(server: Server) -> dict[str, str]:
    """Return the variables that libpq, and with it psycopg and psycopg2, reads an address from."""
    variables = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
        "PGDATABASE": server.dbname,
        "PGAPPNAME": server.app_name,
        "PGHOSTADDR": str(server.admin.get("hostaddr", "")),  # an inherited one would take precedence over PGHOST
    }
    encryption = {"PGSSLMODE": "disable"} if server.own_server else {}
    return variables | encryption | {f"PG{name.upper()}": value for name, value in server.tls.items()}


def mysql_variables(server: Server) -> dict[str, str]:
    """Return the address as variables in the manner of MySQL's programs."""
    return {
        "MYSQL_HOST": server.host,
        "MYSQL_TCP_PORT": str(server.port),
        "MYSQL_USER": server.user,
        "MYSQL_PASSWORD": server.password,
        "MYSQL_DATABASE": server.dbname,
    }


VARIABLES: dict[str, Callable[[Server], dict[str, str]]] = {
    "postgresql": libpq_variables,
    "pgbouncer": libpq_variables,
    "mysql": mysql_variables,
    "sqlite": lambda _: {},
}
"""The environment variables with an address besides DATABASE_URL, by kind."""


@dataclass(frozen=True)
class Reading:
    """The sessions of a server at one moment."""

    t: float
    """Time in seconds of this machine's monotonic clock."""
    backends: dict[int, Backend]
    changed: frozenset[int] | None = None
    """The sessions whose rows were read again; None if all were."""
    counters: dict[str, float] = field(default_factory=dict)
    locks: tuple[int, ...] | None = None
    """Sessions with an advisory lock; None if locks were not read."""
    clock_jump: float = 0.0
    """Seconds by which the server's clock moved against this machine's since the previous reading."""


class NotAnswering(Exception):
    """The server did not answer; a later reading may succeed."""


class Reader(Protocol):
    """A reader of one server's sessions. `read` raises NotAnswering; the next call then opens a new connection."""

    def read(self, *, full: bool) -> Reading: ...

    def close(self) -> None: ...


RECOVERY_TIME = 10.0
"""Seconds in which a server that has gone away may return, so that a run's database on it can be dropped."""


def drop_with_retry(drop: Callable[[], None], refused: type[Exception], name: str, command: str) -> None:
    """Drop what a run created on a server, retrying while `refused` is raised.

    After RECOVERY_TIME, raise Error with the command to type.
    """
    errors: list[Exception] = []

    def dropped() -> bool:
        try:
            drop()
        except refused as error:
            errors.append(error)
            return False
        return True

    try:
        poll.until(dropped, RECOVERY_TIME, "the server to drop the database", every=0.2)
    except poll.TimedOut:
        reason = str(errors[-1]).strip().partition("\n")[0]
        message = f"the run's own database and user {name} could not be dropped: {reason}"
        raise Error(message, f"when the server is available again: {command}") from None
