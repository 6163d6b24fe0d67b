"""When connections run out, in requests (or hours of a job-only app): a projection with a band."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from connleak.judging.claims import format_number, time_unit
from connleak.judging.facts import Facts
from connleak.model.recording import process_name
from connleak.model.struct import Struct
from connleak.model.verdict import Finding, Rate

HOURS_SHOWN_IN_MINUTES = 2
"""A projection in hours is shown in minutes if it is shorter than this."""


class Limit(Struct, frozen=True):
    """A limit of connections: a process's pool or the server, and the share of the growth that reaches it."""

    name: str
    connections: int
    in_use: int
    share: float

    def remaining(self, rate: float) -> float:
        """Return the units of exposure until the limit, at a rate of connections per unit."""
        return (self.connections - self.in_use) / (rate * self.share)


def exhaustion(facts: Facts, findings: list[Finding]) -> dict[str, Any] | None:
    """Return {wall, limit, now, unit, left, time, text}; None if nothing grows."""
    rates = [
        finding.rate
        for finding in findings
        if finding.kind in ("held", "growth") and finding.rate and not finding.bounded_by
    ]
    if not rates or facts.last is None:
        return None
    rate, limit = rates[0], nearest_limit(facts)
    low, high = (requests_until_exhaustion(facts, limit, per) for per in (rate.high, rate.low))
    time = time_at(facts.plan.at_rate, low, high) if facts.plan.at_rate and not facts.job_only else None
    text = f"{limit.name} is full after {band(facts, low, high)}"
    text += f", {time['text']}" if time else ""
    text += from_idle(facts, limit, rate) if facts.plan.hours and not facts.job_only else ""
    return {
        "wall": limit.name,
        "limit": limit.connections,
        "now": limit.in_use,
        "unit": "hours" if facts.job_only else "requests",
        "left": {"value": requests_until_exhaustion(facts, limit, rate.value), "low": low, "high": high},
        "time": time,
        "text": text,
    }


def requests_until_exhaustion(facts: Facts, limit: Limit, rate: float) -> float | None:
    """Return the requests (hours of a job-only app) until a limit is reached; None at a rate of 0."""
    scale = 1.0 if facts.job_only else 1000.0
    return None if rate <= 0 else round(limit.remaining(rate) * scale, 3)


def band(facts: Facts, low: float | None, high: float | None) -> str:
    """Return the remaining requests or time as a range."""
    sides = [side for side in (low, high) if side is not None]
    if not facts.job_only:
        return f"{' to '.join(f'{side:.0f}' for side in sides)} more requests"
    soon = sides[-1] < HOURS_SHOWN_IN_MINUTES
    values = " to ".join(format_number(60 * side if soon else side) for side in sides)
    return f"{values} more {'minutes' if soon else 'hours'}"


def from_idle(facts: Facts, limit: Limit, rate: Rate) -> str:
    """Return the request rate at which the limit is reached within the target's hours, from full pools."""
    start = min(limit.in_use, facts.max_idle_connections)
    rates = [
        1000 * (limit.connections - start) / (per * limit.share) / (3600 * facts.plan.hours)
        for per in (rate.high, rate.low)
        if per
    ]
    per_second = " to ".join(format_number(rate) for rate in rates)
    hours = format_number(facts.plan.hours)
    return f"; from the {start} connections that the pools may keep, in {hours} h at {per_second} requests per second"


def time_at(rate: float, low: float | None, high: float | None) -> dict[str, Any]:
    """Return {at, low, high, text} of the seconds until the limit at a rate of requests per second."""
    seconds = [side / rate for side in (low, high) if side is not None]
    name, size = time_unit(min(seconds))
    values = " to ".join(format_number(side / size) for side in seconds)
    found = {"at": rate, "low": round(seconds[0], 1), "high": round(seconds[-1], 1) if high is not None else None}
    return {**found, "text": f"in {values} {name} at {format_number(rate)} requests per second"}


def nearest_limit(facts: Facts) -> Limit:
    """Return the limit that is reached first: a process's pool, or the server's connections."""
    assert facts.last is not None
    limits = [Limit("the server", facts.available_connections, facts.last.level, 1.0)]
    held = Counter((holder.process, holder.pool) for holder in facts.outstanding if holder.pool)
    total = sum(held.values())
    snapshot = facts.last.snapshot
    for pool in snapshot.pools if snapshot else ():
        count = held[pool.process, pool.pool]
        if count and pool.size > 0 and pool.max_overflow >= 0:
            name = f"the pool of process {process_name(pool.process)} ({pool.size} + {pool.max_overflow})"
            limits.append(Limit(name, pool.size + pool.max_overflow, count, count / total))
    return min(limits, key=lambda limit: limit.remaining(1.0) if limit.share else math.inf)
