"""A run as planned: the first file of its recording."""

from __future__ import annotations

from typing import Literal

from connleak.model.struct import Seconds, Struct

FORMAT = 2
"""Version of the recording's folder; raised when a reader of the old one would misread the new one."""


Kind = Literal["target", "app", "remote", "watch", "follow", "probe"]
"""What a session is made of: a target of the corpus, an app of the user's, an app on other hosts, a live server that is
watched, another tool's load that is followed, or a command with the probe alone. See runner/compose.py."""


class Database(Struct, frozen=True, kw_only=True):
    """Where the database comes from; an address in it never holds a password."""

    source: str = "auto"
    kind: str = "postgresql"
    """postgresql, pgbouncer, mysql or sqlite."""
    version: str = ""
    max_connections: int = 100
    settings: dict[str, str] = {}
    """Of PgBouncer: what its configuration says other than ours."""


class Phases(Struct, frozen=True, kw_only=True):
    """How long each part of a run lasts, in seconds."""

    baseline: Seconds = 0.5
    load: Seconds = 1.5
    drain: Seconds = 5.0
    settle: Seconds = 1.0
    quiet: Seconds = 1.0


class Ask(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request that a made load sends: `name` is what it is counted by."""

    method: str
    path: str
    body: str = ""
    name: str
    weight: int = 1


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that is needed to run it again; the first thing that is written."""

    kind: Kind
    target: str
    variant: str
    app: str
    cwd: str
    url: str
    scenario: str
    users: int
    phases: Phases
    cycles: int
    early_stop: bool = True
    sample_every: Seconds = 0.1
    database: Database
    probe: str = "pool"
    gc: str = "normal"
    canary: bool = False
    sensitivity: float = 0.0
    """The leak rate per request down to which `clean` is asked for; 0 when it is not."""
    limit: Seconds = 1800.0
    """Seconds after which a run that is asked for a sensitivity begins no further cycle."""
    budget: int | None = None
    """Sessions that may be at rest, where no probe can say what the pools may keep."""
    load: Literal["locust", "none"] = "locust"
    listens: Literal["http", "tcp", "load"] = "http"
    """What answers: the app by HTTP or TCP, or the load, which the app calls."""
    services: tuple[str, ...] = ()
    sql: str = ""
    requirements: tuple[str, ...] = ()
    python: str = ""
    interpreter: str = ""
    """The Python that an app of the user's own and its set-up run with; empty: the first on PATH."""
    setup: tuple[str, ...] = ()
    """Commands that run before the app, in its environment."""
    asks: tuple[Ask, ...] = ()
    """What a made load asks for."""
    openapi: str = ""
    """Where the document is that a made load is made of: a file, or an address of the app."""
    env: dict[str, str] = {}
    headers: dict[str, str] = {}
    """Names of the headers that requests bear."""
    seed: int = 1
    expect: str = ""
    hours: Seconds = 0.0
    """Hours for which the rate of requests is asked that would reach the wall; 0 when it is not."""
    at_rate: Seconds = 0.0
    """Requests a second for which the time to exhaustion is asked; 0 when it is not."""
    window: Seconds = 0.0
    """Seconds of each window of a watch."""
    seconds: Seconds = 0.0
    """Seconds after which a watch ends; 0: when it is interrupted."""
    until_leak: bool = False
    """Whether a watch ends as soon as a leak or fault is certain."""
    workers: int = 0
    """Locust workers of ours, beside a master."""
    expect_workers: int = 0
    master_bind: str = ""
    """HOST:PORT at which workers of other hosts find the master."""
    expect_apps: int = 1
    listen: str = ""
    """HOST:PORT at which probes of other hosts come in."""
    remote: tuple[str, ...] = ()
    """Hosts other than this machine that may be loaded: each was named."""
    argv: tuple[str, ...] = ()
    tool_version: str = ""
    format: int = FORMAT
