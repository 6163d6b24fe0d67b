"""A run as planned: the first file of its recording."""

from __future__ import annotations

from typing import Literal

from connleak.model.addresses import HostPort
from connleak.model.struct import Seconds, Struct

FORMAT = 2
"""Version of the recording's folder; raised when an older reader would misread a newer recording."""


PlanKind = Literal["target", "app", "remote", "watch", "follow", "probe"]
"""The kinds of sessions: a target of the corpus, the user's app, an app on other hosts, a live server that is watched,
the load of another tool that is followed, or a command with the probe only. See runner/compose.py."""


class Database(Struct, frozen=True, kw_only=True):
    """The source of the database; it contains no address and no password."""

    source: str = "auto"
    kind: str = "postgresql"
    """postgresql, pgbouncer, mysql or sqlite."""
    version: str = ""
    max_connections: int = 100
    settings: dict[str, str] = {}
    """Of PgBouncer: settings that override the defaults of its configuration."""


class Phases(Struct, frozen=True, kw_only=True):
    """The length of each phase of a run, in seconds."""

    baseline: Seconds = 0.5
    load: Seconds = 1.5
    drain: Seconds = 5.0
    settle: Seconds = 1.0
    quiet: Seconds = 1.0


class RequestSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request of a generated load; `name` is its name in Locust's statistics."""

    method: str
    path: str
    body: str = ""
    name: str
    weight: int = 1


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that is needed to repeat a run, without its secrets."""

    kind: PlanKind
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
    """The leak rate per request that a `clean` verdict must exclude; 0: any."""
    limit: Seconds = 1800.0
    """With a sensitivity: seconds after which no further cycle starts."""
    max_idle_connections: int | None = None
    """Without a probe: how many idle connections the app's pools may keep."""
    load: Literal["locust", "none"] = "locust"
    listens: Literal["http", "tcp", "load"] = "http"
    """The side that answers requests: the app by HTTP or TCP, or the load, which the app calls."""
    services: tuple[str, ...] = ()
    sql: str = ""
    requirements: tuple[str, ...] = ()
    python: str = ""
    interpreter: str = ""
    """The Python that the user's own app and its set-up commands run with; empty: the first on PATH."""
    setup: tuple[str, ...] = ()
    """Commands that run before the app starts, in its environment."""
    requests: tuple[RequestSpec, ...] = ()
    """The requests of a generated load."""
    openapi: str = ""
    """The OpenAPI document that the load is generated from: a file, or a URL of the app."""
    env: dict[str, str] = {}
    headers: dict[str, str] = {}
    """Headers of the generated requests, with `***` for secret values."""
    seed: int = 1
    expect: str = ""
    hours: Seconds = 0.0
    """Of a target: the hours until exhaustion in its story, from which a request rate is computed; 0: none."""
    at_rate: Seconds = 0.0
    """Requests per second for which the time to exhaustion is estimated; 0: no estimate."""
    window: Seconds = 0.0
    """Seconds of each window of a watch."""
    seconds: Seconds = 0.0
    """Seconds after which a watch ends; 0: when it is interrupted."""
    until_leak: bool = False
    """Whether a watch ends as soon as a leak or fault is certain."""
    workers: int = 0
    """Local Locust workers, in addition to a master."""
    expect_workers: int = 0
    master_bind: HostPort | None = None
    """The address at which the Locust master listens for workers on other hosts."""
    expect_apps: int = 1
    listen: HostPort | None = None
    """The address to which probes on other hosts connect."""
    remote: tuple[str, ...] = ()
    """Hosts other than this machine that the user allowed."""
    argv: tuple[str, ...] = ()
    tool_version: str = ""
    format: int = FORMAT
