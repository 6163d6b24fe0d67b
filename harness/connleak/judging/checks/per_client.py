"""per-client: each open client holds an idle connection until it leaves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter

from connleak.judging.facts import Facts
from connleak.judging.policy import (
    CONNECTIONS_PER_CLIENT,
    FEWEST_CLIENTS,
    HUNG_READ,
    LONG_REQUEST,
    SAMPLE_GAP_PERIODS,
)
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import Request, Sample
from connleak.model.verdict import Check, Finding


def per_client(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding if, under load, there are as many idle checkouts as long requests, and all are returned."""
    best: dict[float, tuple[int, int, float]] = {}  # the most clients by the end of the cycle
    for sample, begins in with_long_requests(facts):
        clients = len(begins)
        idle = len(long_idle(facts, sample, min(begins)))
        cycle = facts.cycle_end(sample.t)
        if idle >= CONNECTIONS_PER_CLIENT * clients and clients > best.get(cycle, (0,))[0]:
            best[cycle] = (clients, idle, sample.t)
    if not best:
        return [], Check("per-client", "clean", "no idle connection for each open client")
    clients, idle, moment = max(best.values(), key=lambda found: (found[0], -found[2]))  # the first of equal ones
    detail = f"{idle} idle connections for {clients} open clients"
    if len(best) == 1 and len(facts.windows) > 1:  # a stalled network has the same effect in one cycle
        return [], Check("per-client", "clean", f"{detail} in only one of {len(facts.windows)} cycles")
    if facts.outstanding and len(facts.outstanding) >= CONNECTIONS_PER_CLIENT * clients:
        return [], Check("per-client", "clean", "connections are not returned after the clients leave: see held")
    claim = (
        f"{idle} checked-out connections were idle for more than {LONG_REQUEST:.0f} s while {clients} clients had a "
        "request open. All were returned when the clients left. Each open client costs one of "
        f"{facts.available_connections} connections."
    )
    event = next((event for event in facts.events("checkout") if event.t <= moment), None)
    found = Finding(
        kind="per-client",
        claim=claim,
        sites=event.stack[:1] if event else (),
        first_seen=moment,
        docs=docs_anchor("per-client"),
    )
    return [found], Check("per-client", "strained", detail)


def with_long_requests(facts: Facts) -> Iterator[tuple[Sample, list[float]]]:
    """Yield the samples in which enough requests have been open for long, with the start of each request."""
    later = [request for request in reversed(facts.recording.requests) if request.seconds > LONG_REQUEST]
    open_now: list[Request] = []
    for sample in steady(facts):
        while later and later[-1].t + LONG_REQUEST <= sample.t:
            open_now.append(later.pop())
        open_now = [request for request in open_now if sample.t <= request.t + request.seconds]
        if len(open_now) >= FEWEST_CLIENTS:
            yield sample, [request.t for request in open_now]


def steady(facts: Facts) -> Iterator[Sample]:
    """Yield the samples before which the server has answered quickly for a while: a hung server makes every session
    idle."""
    every = facts.plan.sample_every
    before, since = 0.0, -LONG_REQUEST
    for sample in facts.recording.samples:
        pause = sample.t - before - facts.interval(sample)
        if sample.cost > HUNG_READ or pause > max(HUNG_READ, SAMPLE_GAP_PERIODS * every):
            since = sample.t + sample.cost / 2  # the time of a sample is the middle of its read
        before = sample.t
        if sample.t - since >= LONG_REQUEST:
            yield sample


def long_idle(facts: Facts, sample: Sample, since: float) -> list[int]:
    """Return the sessions that have not been active for long, and were checked out since the first client connected.

    Without a probe the checkouts are unknown: all sessions that have not been active for long.
    """
    pids = [
        row.pid
        for row in sample.backends
        if row.state != "active" and row.state_since is not None and sample.t - row.state_since > LONG_REQUEST
    ]
    if not facts.probed:
        return pids
    return [pid for pid in pids if (out := checked_out_since(facts, pid, sample.t)) is not None and out >= since]


def checked_out_since(facts: Facts, pid: int, moment: float) -> float | None:
    """Return when a session was checked out that is out at a moment; None if it is not out."""
    seen = facts.by_backend.get(pid, [])
    last = bisect_right(seen, moment, key=attrgetter("t")) - 1
    return seen[last].t if last >= 0 and seen[last].kind == "checkout" else None
