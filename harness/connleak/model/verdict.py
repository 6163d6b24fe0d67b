"""What a verdict is made of, frozen and JSON-able: `--json` and verdict.json use these field names."""

from __future__ import annotations

from typing import Any, Literal

from connleak.model.outcomes import Outcome
from connleak.model.recording import Site
from connleak.model.struct import Struct


class HolderRow(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A server session that is out, joined with who has it: one row of the holder table. Durations in seconds."""

    backend: int | None
    state: str | None = None
    """The server's word for what the session does; None where the server did not show it."""
    state_for: float | None = None
    transaction_for: float | None = None
    session_for: float | None = None
    query: str = ""
    held_for: float
    site: Site | None
    stack: tuple[Site, ...] = ()
    process: int
    host: str = ""
    """The host that the process is on, where it is not this machine."""
    worker: str = ""
    """Name of the thread, greenlet or asyncio task that took it."""
    alive: bool = True
    now: Site | None = None
    """Where that worker is now, in the app's own code."""
    request: str = ""
    source: str = "pool"


class Table(Struct, frozen=True):
    """Who had which session at a moment of a recording; `at` is now, exhausted or quiet."""

    at: str
    t: float
    reason: str
    holders: tuple[HolderRow, ...]


def worker_of(row: HolderRow) -> str:
    """Returns who has a session: host where it is another, process, thread or task, and whether that has ended."""
    host = f"{row.host}:" if row.host else ""
    return f"{host}{row.process} {row.worker}{'' if row.alive else ', ended'}"


class PostMortem(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The moment at which the first caller was turned away: who had the connections, and what led up to it."""

    t: float
    reason: str
    holders: tuple[HolderRow, ...] = ()
    series: tuple[dict[str, Any], ...] = ()
    """The last seconds: t, sessions by state, `out` and `waiting` in the app, `requests` in flight."""


class Rate(Struct, frozen=True):
    """A rate with its 95 % interval and the name of the method that made it."""

    value: float
    low: float
    high: float
    per: str
    method: str


class Finding(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that is wrong, with its evidence."""

    kind: str
    claim: str
    rate: Rate | None = None
    bounded_by: str = ""
    requests: tuple[dict[str, Any], ...] = ()
    backends: tuple[int, ...] = ()
    sites: tuple[Site, ...] = ()
    first_seen: float | None = None
    docs: str = ""


CheckOutcome = Outcome | Literal["skipped"]
"""A skipped check has no part in the verdict's outcome."""


class Check(Struct, frozen=True, array_like=True):
    """The result of one check: its name, its outcome, and the figures behind it or the reason for skipping it."""

    name: str
    outcome: CheckOutcome
    detail: str


class Verdict(Struct, frozen=True, kw_only=True):
    """The answer, and why it may be trusted."""

    outcome: Outcome
    sentence: str
    findings: tuple[Finding, ...] = ()
    sensitivity: dict[str, Any] = {}
    exhaustion: dict[str, Any] | None = None
    holders: tuple[HolderRow, ...] = ()
    """Who has what at the end of the quiet window, the longest held first, residents included."""
    postmortem: PostMortem | None = None
    checks: tuple[Check, ...] = ()
    evidence: dict[str, Any] = {}
