"""exhausted: callers timed out while they waited for a connection, or the server refused one."""

from __future__ import annotations

from collections import Counter
from statistics import median

from connleak.judging.checks import NEEDS_PROBE, skipped
from connleak.judging.checks.over_budget import concurrent_callers
from connleak.judging.claims import plural
from connleak.judging.facts import Facts
from connleak.judging.policy import SLOW_HOLDER
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import Event, NoteCode, Pool, Sample
from connleak.model.verdict import Check, Finding


def exhausted(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding with the cause if callers did not get a connection."""
    refused = refused_by_server(facts)
    if refused:
        return refused, Check("exhausted", "strained", "the server refused connections")
    if not facts.probed:
        return skipped("exhausted", NEEDS_PROBE)
    timeouts = facts.events("timeout")
    if not timeouts:
        return [], Check("exhausted", "clean", f"no caller timed out{waits(facts)}")
    pools = {(pool.process, pool.pool): pool for snapshot in facts.recording.snapshots for pool in snapshot.pools}
    worst = Counter((event.process, event.pool) for event in timeouts).most_common(1)[0][0]
    pool = pools.get(worst)
    size = f"pool_size {pool.size} + max_overflow {pool.max_overflow}" if pool else "an unknown pool"
    waited = median(event.seconds for event in timeouts)
    claim = (
        f"{plural(len(timeouts), 'caller')} timed out after {waited:.2f} s of waiting for a connection ({size}). "
        f"Cause: {cause_of(facts, timeouts, pool)}."
    )
    sites = Counter(event.site for event in timeouts if event.site).most_common(1)
    found = Finding(
        kind="exhausted",
        claim=claim,
        bounded_by="pool",
        sites=tuple(site for site, _ in sites),
        first_seen=timeouts[0].t,
        docs=docs_anchor("exhausted"),
    )
    return [found], Check("exhausted", "strained", f"{plural(len(timeouts), 'caller')} timed out")


def waits(facts: Facts) -> str:
    """Return how many callers waited, and how long."""
    events = facts.events("wait")
    longest = max((event.seconds for event in events), default=0.0)
    return f"; {plural(len(events), 'caller')} waited, for {longest:.2f} s at most" if events else ""


def refused_by_server(facts: Facts) -> list[Finding]:
    """Return a finding if the server had no connection left for the app."""
    logged = sum(note.facts.count for note in facts.recording.notes if note.code == NoteCode.TOO_MANY_CONNECTIONS)
    seen = facts.events("refused")
    count = max(logged, len(seen))
    if not count:
        return []
    claim = (
        f"The server refused {plural(count, 'connection')} (SQLSTATE 53300, too_many_connections): {facts.peak} of "
        f"{facts.available_connections} were in use."
    )
    first = seen[0].t if seen else None
    docs = docs_anchor("exhausted")
    return [Finding(kind="exhausted", claim=claim, bounded_by="server", first_seen=first, docs=docs)]


def cause_of(facts: Facts, timeouts: list[Event], pool: Pool | None) -> str:
    """Return the cause with its figures: held, nested, slow-holder or undersized."""
    if facts.outstanding:
        return f"held, {plural(len(facts.outstanding), 'connection')} not returned"
    nested = sum(event.nested for event in timeouts)
    if nested:
        return f"nested, {nested} of the callers already had a connection of the same pool"
    hold, active = hold_times(facts)
    if active and hold > SLOW_HOLDER * active:
        return (
            f"slow-holder, a connection is checked out for {1000 * hold:.0f} ms, in which the server works "
            f"{1000 * active:.0f} ms"
        )
    callers = max(concurrent_callers(facts).values(), default=0)
    capacity = pool.size + max(0, pool.max_overflow) if pool else 0
    return (
        f"undersized, up to {callers} concurrent callers need one of {plural(capacity, 'connection')}, and each "
        f"checkout takes {1000 * hold:.0f} ms"
    )


def hold_times(facts: Facts) -> tuple[float, float]:
    """Return (median duration of a checkout, the part of it in which its session was active), in seconds."""
    checkouts = {(event.process, event.checkout): event for event in facts.events("checkout")}
    holds = []
    for event in facts.events("checkin"):
        start = checkouts.get((event.process, event.checkout))
        if start is not None and event.t < facts.thinned_from:
            holds.append(event.t - start.t)
    if not holds:
        return 0.0, 0.0
    busy = Counter(
        backend.state == "active" for sample in loaded(facts) for backend in sample.backends if is_out(backend.state)
    )
    share = busy[True] / sum(busy.values()) if busy else 1.0
    return median(holds), median(holds) * share


def is_out(state: str | None) -> bool:
    return state is not None and state != "idle"


def loaded(facts: Facts) -> list[Sample]:
    """Return the samples taken under load."""
    loads = [(phase.begin, phase.end or 0.0) for phase in facts.recording.phases if phase.name == "load"]
    return [s for s in facts.recording.samples if any(begin <= s.t <= end for begin, end in loads)]
