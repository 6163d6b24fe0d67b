"""What a person asked for, before it is a plan; and what of it must not be written down."""

from __future__ import annotations

from connleak.model.struct import Struct


class Options(Struct, frozen=True, kw_only=True):
    """What the command line said; None is what it did not."""

    target: str | None = None
    app: str | None = None
    url: str | None = None
    locustfile: str | None = None
    cwd: str | None = None
    env: tuple[str, ...] = ()
    postgres: str = "auto"
    allow_remote: tuple[str, ...] = ()
    mysql: str | None = None
    listen: str | None = None
    expect_apps: int = 1
    workers: int = 0
    expect_workers: int = 0
    master_bind: str | None = None
    pgbouncer: str | None = None
    max_connections: int | None = None
    users: int | None = None
    cycles: int = 3
    load: float | None = None
    drain: float | None = None
    seed: int = 1
    probe: str | None = None
    expect: str | None = None
    at_rate: str | None = None
    gc: str = "normal"
    canary: bool = False
    sensitivity: str | None = None
    limit: float = 1800.0
    budget: int | None = None
    early_stop: bool = True
    argv: tuple[str, ...] = ()
    python: str | None = None
    setup: tuple[str, ...] = ()
    sql: str | None = None
    header: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    openapi: str | None = None


class Private(Struct, frozen=True):
    """What a run needs and a recording must not hold: the database's address, the values of --env and --header."""

    address: str = ""
    env: dict[str, str] = {}
    headers: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    """What stands in place of a `${NAME}`, and what of the other options is a secret."""
