"""The verdict and its parts, frozen and JSON-able: `--json` and verdict.json use these field names."""

from __future__ import annotations

from typing import Any, Literal

from connleak.model.outcomes import Outcome
from connleak.model.recording import Site
from connleak.model.struct import Struct


class HolderRow(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A row of the holder table: a checkout that is out, with its session and its owner. Durations in seconds."""

    backend: int | None
    state: str | None = None
    """The session's state in the server's terms; None if the server hides it."""
    state_for: float | None = None
    transaction_for: float | None = None
    session_for: float | None = None
    query: str = ""
    held_for: float
    site: Site | None
    stack: tuple[Site, ...] = ()
    process: int
    host: str = ""
    """The host of the process, if it is not this machine."""
    worker: str = ""
    """Name of the thread, greenlet or asyncio task that made the checkout."""
    alive: bool = True
    now: Site | None = None
    """The line of the app that the worker executes now."""
    request: str = ""
    source: str = "pool"


class Table(Struct, frozen=True):
    """The holder table at one moment of a recording; `at` is now, exhausted or quiet."""

    at: str
    t: float
    reason: str
    holders: tuple[HolderRow, ...]


def worker_of(row: HolderRow) -> str:
    """Return the owner of a checkout: host if not this machine, process, thread or task, and whether that has ended."""
    host = f"{row.host}:" if row.host else ""
    return f"{host}{row.process} {row.worker}{'' if row.alive else ', ended'}"


class PostMortem(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The first timeout or refusal: the holder table at that moment, and the seconds before it."""

    t: float
    reason: str
    holders: tuple[HolderRow, ...] = ()
    series: tuple[dict[str, Any], ...] = ()
    """The last seconds: t, sessions by state, `out` and `waiting` in the app, `requests` in flight."""


class Rate(Struct, frozen=True):
    """A rate with its 95 % interval and the method behind it."""

    value: float
    low: float
    high: float
    per: str
    method: str


class Finding(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A problem with its evidence."""

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
    """The outcome of a recording with the findings, checks and figures behind it."""

    outcome: Outcome
    sentence: str
    findings: tuple[Finding, ...] = ()
    sensitivity: dict[str, Any] = {}
    exhaustion: dict[str, Any] | None = None
    holders: tuple[HolderRow, ...] = ()
    """The holder table at the end of the final idle window, the longest held first, residents included."""
    postmortem: PostMortem | None = None
    checks: tuple[Check, ...] = ()
    evidence: dict[str, Any] = {}
