"""The databases that a run can use, behind one value: `Server`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


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
    admin: dict[str, Any] = field(repr=False)
    """Arguments for psycopg2.connect, for the sampler: a superuser on a server of ours."""
    ours: bool
    """A server that this run started: every session in it is the app's."""
    own_database: bool
    """A database that this run created: every session in it is the app's."""
    notes: tuple[str, ...] = ()
    app_name: str = field(default_factory=lambda: f"connleak-app-{secrets.token_hex(3)}")
    """What libpq's sessions of this run's app are called on the server; asyncpg does not take it from PGAPPNAME."""

    def url(self, scheme: str = "postgresql") -> str:
        """Returns the app's address in it, with the password."""
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        user = quote(self.user, safe="")
        return f"{scheme}://{user}{secret}@{self.host}:{self.port}/{quote(self.dbname, safe='')}"

    def environment(self) -> dict[str, str]:
        """Returns the variables that tell an app of this database: DATABASE_URL and libpq's PG*."""
        return {
            "DATABASE_URL": self.url("postgresql+psycopg2"),
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.dbname,
            "PGAPPNAME": self.app_name,
        }
