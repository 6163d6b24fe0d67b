"""The databases that a run can use, behind two values: `Server` (where it is) and `Reader` (who is on it now)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from connleak.model.errors import Error
from connleak.model.recording import Backend

SCHEMES = {
    "postgresql": "postgresql+psycopg2",
    "pgbouncer": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "sqlite": "sqlite",
}
"""SQLAlchemy's form of an address, by kind."""


@dataclass(frozen=True)
class Server:
    """A database that is up: how the app reaches it, and how the sampler does."""

    source: str
    version: str
    max_connections: int
    reserved: int
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dbname: str
    """The database's name; of SQLite its file."""
    admin: dict[str, Any] = field(repr=False)
    """Arguments of the driver's connect(), for the sampler: a superuser on a server of ours."""
    ours: bool
    """A server that this run started: every session in it is the app's."""
    own_database: bool
    """A database that this run created: every session in it is the app's."""
    kind: str = "postgresql"
    """postgresql, pgbouncer, mysql or sqlite."""
    notes: tuple[str, ...] = ()
    app_name: str = field(default_factory=lambda: f"connleak-app-{secrets.token_hex(3)}")
    """What libpq's sessions of this run's app are called on the server; asyncpg does not take it from PGAPPNAME."""
    behind: Server | None = None
    """The server behind a pooler."""
    proxied: bool = False
    """Whether the engine of a container passes sessions on: their client_port is its own then, not the app's."""
    tls: dict[str, str] = field(default_factory=dict)
    """Options of an address that the app's own connections need as well."""

    def url(self, scheme: str = "postgresql") -> str:
        """Returns the app's address in it, with the password."""
        if self.kind == "sqlite":
            return f"{scheme}:///{quote(self.dbname)}"
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        user = quote(self.user, safe="")
        options = self.tls
        if scheme.endswith("+asyncpg") and "sslmode" in options:  # SQLAlchemy hands on asyncpg's own word for it
            options = {"ssl": options["sslmode"]}
        query = f"?{urlencode(options)}" if options else ""
        return f"{scheme}://{user}{secret}@{self.host}:{self.port}/{quote(self.dbname, safe='')}{query}"

    def environment(self) -> dict[str, str]:
        """Returns the variables that tell an app of this database: DATABASE_URL, and libpq's PG* or MYSQL_*."""
        found = {"DATABASE_URL": self.url(SCHEMES[self.kind])}
        if self.kind in ("postgresql", "pgbouncer"):
            found |= {
                "PGHOST": self.host,
                "PGPORT": str(self.port),
                "PGUSER": self.user,
                "PGPASSWORD": self.password,
                "PGDATABASE": self.dbname,
                "PGAPPNAME": self.app_name,
                "PGHOSTADDR": str(self.admin.get("hostaddr", "")),  # else the app's own would go before PGHOST
            }
            found |= {"PGSSLMODE": "disable"} if self.ours else {}
            found |= {f"PG{name.upper()}": value for name, value in self.tls.items()}
        elif self.kind == "mysql":
            found |= {
                "MYSQL_HOST": self.host,
                "MYSQL_TCP_PORT": str(self.port),
                "MYSQL_USER": self.user,
                "MYSQL_PASSWORD": self.password,
                "MYSQL_DATABASE": self.dbname,
            }
        return found

    def probe_environment(self) -> dict[str, str]:
        """Returns the variables that tell the probe how a session is numbered, where the driver does not know."""
        if self.kind == "sqlite":
            return {"CONNLEAK_SQLITE": self.dbname}
        return {"CONNLEAK_BACKEND": "port"} if self.kind == "pgbouncer" else {}


@dataclass(frozen=True)
class Reading:
    """Who is on the server now."""

    t: float
    """Seconds of this machine's monotonic clock."""
    backends: dict[int, Backend]
    changed: frozenset[int] | None = None
    """The sessions whose rows were read again; None: all were."""
    counters: dict[str, float] = field(default_factory=dict)
    locks: tuple[int, ...] | None = None
    """Sessions with an advisory lock; None: not looked at this time."""
    clock_jump: float = 0.0
    """Seconds by which the server's clock left ours since the reading before."""


class NotAnswering(Exception):
    """The server did not answer; the next reading may succeed again."""


class Reader(Protocol):
    """Reads the sessions of one server; `read` raises NotAnswering, after which the reader connects anew."""

    def read(self, *, full: bool) -> Reading: ...

    def close(self) -> None: ...


RECOVERING = 10.0
"""Seconds in which a server that went away may be there again, so that what we made on it is dropped."""


def drop_when_there(drop: Callable[[], None], refused: type[Exception], name: str, again: str) -> None:
    """Drops what a run made on a server that may need a moment; raises Error with what to type in the end."""
    deadline = time.monotonic() + RECOVERING
    while True:
        try:
            return drop()
        except refused as error:
            if time.monotonic() > deadline:
                said = str(error).strip().partition("\n")[0]
                told = f"the run's own database and user {name} could not be dropped: {said}"
                raise Error(told, f"when the server is there again: {again}") from None
            time.sleep(0.2)
