"""When the first wall is reached, in requests (or hours of a job-only app): a projection with a band."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from connleak.judging.facts import Facts
from connleak.judging.rates import compact, unit_of
from connleak.model.recording import process_name
from connleak.model.verdict import Finding


def exhaustion(facts: Facts, findings: list[Finding]) -> dict[str, Any] | None:
    """Returns {wall, limit, now, left: {value, low, high, unit}}; None where nothing grows or the wall is not known."""
    growing = [
        finding
        for finding in findings
        if finding.kind in ("held", "growth") and finding.rate and not finding.bounded_by
    ]
    if not growing or facts.last is None:
        return None
    rate = growing[0].rate
    assert rate is not None
    wall, limit, now, share = first_wall(facts)
    unit, scale = ("hours", 1.0) if facts.job_only else ("requests", 1000.0)

    def left(per: float) -> float | None:
        return None if per <= 0 else round((limit - now) / (per * share) * scale, 3)

    low, high = left(rate.high), left(rate.low)
    sides = [side for side in (low, high) if side is not None]
    soon = facts.job_only and sides[-1] < 2
    band = [compact(60 * side if soon else side) if facts.job_only else f"{side:.0f}" for side in sides]
    text = f"{wall} is full after {' to '.join(band)} more {'minutes' if soon else unit}"
    time = None
    if facts.plan.at_rate and not facts.job_only:
        time = time_at(facts.plan.at_rate, low, high)
        text += f", {time['text']}"
    if facts.plan.hours and not facts.job_only:
        start = min(now, facts.budget)
        rates = [
            1000 * (limit - start) / (per * share) / (3600 * facts.plan.hours) for per in (rate.high, rate.low) if per
        ]
        spoken = " to ".join(compact(rate) for rate in rates)
        hours = compact(facts.plan.hours)
        text += f"; from the {start} that the pools may keep it takes {hours} h at {spoken} requests a second"
    return {
        "wall": wall,
        "limit": limit,
        "now": now,
        "unit": unit,
        "left": {"value": left(rate.value), "low": low, "high": high},
        "time": time,
        "text": text,
    }


def time_at(rate: float, low: float | None, high: float | None) -> dict[str, Any]:
    """Returns {at, low, high, text} of the time until the wall, in seconds, at a rate of requests a second."""
    seconds = [side / rate for side in (low, high) if side is not None]
    name, size = unit_of(min(seconds))
    band = " to ".join(compact(side / size) for side in seconds)
    found = {"at": rate, "low": round(seconds[0], 1), "high": round(seconds[-1], 1) if high is not None else None}
    return {**found, "text": f"in {band} {name} at {compact(rate)} requests a second"}


def first_wall(facts: Facts) -> tuple[str, int, int, float]:
    """Returns (name, limit, now, its part of the growth) of the first wall: a process's pool, or the server."""
    assert facts.last is not None
    walls = [("the server", facts.room, facts.last.level, 1.0)]
    held = Counter((holder.process, holder.pool) for holder in facts.persistent if holder.pool)
    total = sum(held.values())
    snapshot = facts.last.snapshot
    for pool in snapshot.pools if snapshot else ():
        count = held[pool.process, pool.pool]
        if count and pool.size > 0 and pool.max_overflow >= 0:
            limit = pool.size + pool.max_overflow
            name = f"the pool of process {process_name(pool.process)} ({pool.size} + {pool.max_overflow})"
            walls.append((name, limit, count, count / total))
    return min(walls, key=lambda wall: (wall[1] - wall[2]) / wall[3] if wall[3] else math.inf)
