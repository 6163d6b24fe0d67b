"""What comes back but will not hold: exhausted, per-client, churn."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from statistics import median

from connleak.judging.facts import Facts, plural
from connleak.judging.rates import compact
from connleak.model.recording import Event, Pool, Request, Sample
from connleak.model.verdict import Check, Finding

CHURN = 500
"""Opens per 1000 requests from which it is a finding: every second request pays for a connection."""
CLIENTS = 5
CLIENT_SHARE = 0.8
LONG = 1.0
SLOW_HOLDER = 5.0


def exhausted(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding when callers waited for a connection and gave up, with what it was that they waited for."""
    turned_away = refusals(facts)
    if turned_away:
        return turned_away, Check("exhausted", "strained", "the server itself refused connections")
    if not facts.probed:
        return [], Check("exhausted", "clean", "not judged: it takes the probe's side")
    timeouts = facts.events("timeout")
    waits = facts.events("wait")
    if not timeouts:
        longest = max((event.seconds for event in waits), default=0.0)
        text = f"; {plural(len(waits), 'caller')} waited, {longest:.2f} s at most" if waits else ""
        return [], Check("exhausted", "clean", f"no caller gave up{text}")
    pools = {(pool.process, pool.pool): pool for snapshot in facts.recording.snapshots for pool in snapshot.pools}
    worst = Counter((event.process, event.pool) for event in timeouts).most_common(1)[0][0]
    pool = pools.get(worst)
    size = f"pool_size {pool.size} + max_overflow {pool.max_overflow}" if pool else "an unknown pool"
    waited = median(event.seconds for event in timeouts)
    cause = cause_of(facts, timeouts, pool)
    claim = f"{plural(len(timeouts), 'caller')} gave up after waiting {waited:.2f} s for a connection ({size}); {cause}"
    sites = [event.site for event in timeouts if event.site]
    common = Counter(sites).most_common(1)[0][0] if sites else None
    found = Finding(
        kind="exhausted",
        claim=claim,
        bounded_by="pool",
        sites=(common,) if common else (),
        first_seen=timeouts[0].t,
        docs="docs/findings.md#exhausted",
    )
    return [found], Check("exhausted", "strained", f"{plural(len(timeouts), 'caller')} gave up")


def refusals(facts: Facts) -> list[Finding]:
    """Returns a finding when the server itself had no connection left for the app."""
    logged = sum(note.facts.get("count", 0) for note in facts.recording.notes if note.facts.get("words") == " 53300 ")
    seen = facts.events("refused")
    count = max(logged, len(seen))
    if not count:
        return []
    peak = max((len(sample.backends) for sample in facts.recording.samples), default=0)
    claim = (
        f"the server refused {plural(count, 'connection')} (SQLSTATE 53300, too many clients): "
        f"{peak} of {facts.room} were in use"
    )
    first = seen[0].t if seen else None
    return [
        Finding(kind="exhausted", claim=claim, bounded_by="server", first_seen=first, docs="docs/findings.md#exhausted")
    ]


def over_budget(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding when the app's pools, as far as its threads can fill them, may open too many."""
    if not facts.probed or facts.last is None or facts.last.snapshot is None:
        return [], Check("over-budget", "clean", "not judged: it takes the probe's side")
    threads: dict[int, set[int]] = {}
    for event in facts.events("checkout"):
        threads.setdefault(event.process, set()).add(event.thread)
    demand = at_once(facts)  # greenlets and tasks share a thread: what they had or wanted at the same time counts
    room: Counter[int] = Counter()
    for pool in facts.last.snapshot.pools:
        if pool.pool and pool.used and pool.size > 0 and pool.max_overflow >= 0:
            room[pool.process] += pool.size + pool.max_overflow
    declared = room.total()
    may = sum(min(most, max(len(threads.get(process, ())), demand.get(process, 0))) for process, most in room.items())
    why = f"the pools may open {declared}, and with the callers seen {may}, of {facts.room} connections"
    if may <= facts.room:
        return [], Check("over-budget", "clean", why)
    claim = f"{why}: under full load the server will refuse"
    return [Finding(kind="over-budget", claim=claim, docs="docs/findings.md#over-budget")], Check(
        "over-budget", "strained", why
    )


def cause_of(facts: Facts, timeouts: list[Event], pool: Pool | None) -> str:
    """Returns the cause with its arithmetic: held, nested, slow-holder or undersized."""
    if facts.persistent:
        return f"cause: held, for {len(facts.persistent)} connections were never given back"
    nested = sum(event.nested for event in timeouts)
    if nested:
        return f"cause: nested, {nested} of them already held a connection of the same pool"
    hold, active = hold_times(facts)
    if active and hold > SLOW_HOLDER * active:
        return (
            f"cause: slow-holder, a connection is held for {1000 * hold:.0f} ms, in which the server works "
            f"{1000 * active:.0f} ms"
        )
    asked = max(at_once(facts).values(), default=0)
    capacity = pool.size + max(0, pool.max_overflow) if pool else 0
    return (
        f"cause: undersized, up to {asked} callers at once want one of {capacity}, and each holds it for "
        f"{1000 * hold:.0f} ms"
    )


def hold_times(facts: Facts) -> tuple[float, float]:
    """Returns the median time that a checkout was out, and the part of it in which its session was active."""
    taken = {(event.process, event.checkout): event for event in facts.events("checkout")}
    holds = []
    for event in facts.events("checkin"):
        start = taken.get((event.process, event.checkout))
        if start is not None and event.t < facts.thinned:
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
    """Returns the samples taken while the load ran."""
    loads = [(phase.begin, phase.end or 0.0) for phase in facts.recording.phases if phase.name == "load"]
    return [s for s in facts.recording.samples if any(begin <= s.t <= end for begin, end in loads)]


def at_once(facts: Facts) -> dict[int, int]:
    """Returns, by process, the largest number of callers that had or wanted a connection at the same time."""
    steps: dict[int, list[tuple[float, int]]] = {}
    for event in facts.events("checkout", "checkin", "wait", "timeout"):
        changes = steps.setdefault(event.process, [])
        if event.kind == "checkout":
            changes.append((event.t, 1))
        elif event.kind == "checkin":
            changes.append((event.t, -1))
        else:
            changes += [(event.t - event.seconds, 1), (event.t, -1)]
    most = {}
    for process, changes in steps.items():
        now = most[process] = 0
        for _, change in sorted(changes):
            now += change
            most[process] = max(most[process], now)
    return most


def per_client(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding when each open client holds a connection: idle ones as many as long requests, gone at rest."""
    best: dict[float, tuple[int, int, float]] = {}  # by the end of the cycle
    for sample, begins in with_long_requests(facts):
        clients = len(begins)
        idle = len(long_idle(facts, sample, min(begins)))
        cycle = facts.cycle_end(sample.t)
        if idle >= CLIENT_SHARE * clients and clients > best.get(cycle, (0,))[0]:
            best[cycle] = (clients, idle, sample.t)
    if not best:
        return [], Check("per-client", "clean", "no connection for each open client")
    clients, idle, moment = max(best.values(), key=lambda found: (found[0], -found[2]))  # the first with most
    if len(best) == 1 and len(facts.rests) > 1:  # a network that stalls does that, too: once
        why = f"{idle} idle connections for {clients} open clients in one cycle of {len(facts.rests)} alone"
        return [], Check("per-client", "clean", why)
    if facts.persistent and len(facts.persistent) >= CLIENT_SHARE * clients:
        return [], Check("per-client", "clean", "connections are held beyond the clients' time: see held")
    claim = (
        f"{idle} connections were out and did nothing for more than {LONG:.0f} s while {clients} clients had a request "
        f"open; all came back when the clients left: each open client costs a connection of {facts.room}"
    )
    event = next((event for event in facts.events("checkout") if event.t <= moment), None)
    found = Finding(
        kind="per-client",
        claim=claim,
        sites=event.stack[:1] if event else (),
        first_seen=moment,
        docs="docs/findings.md#per-client",
    )
    return [found], Check("per-client", "strained", f"{idle} idle connections for {clients} open clients")


def with_long_requests(facts: Facts) -> Iterator[tuple[Sample, list[float]]]:
    """Yields the samples in which enough requests were open for long, with when these began."""
    coming = [request for request in reversed(facts.recording.requests) if request.seconds > LONG]
    there: list[Request] = []
    for sample in steady(facts):
        while coming and coming[-1].t + LONG <= sample.t:
            there.append(coming.pop())
        there = [request for request in there if sample.t <= request.t + request.seconds]
        if len(there) >= CLIENTS:
            yield sample, [request.t for request in there]


def steady(facts: Facts) -> Iterator[Sample]:
    """Yields the samples before which the server answered quickly for so long: what does nothing in a server that
    hangs says nothing of the app."""
    every = facts.plan.sample_every
    before, since = 0.0, -LONG
    for sample in facts.recording.samples:
        pause = sample.t - before - facts.interval(sample)
        if sample.cost > LONG / 2 or pause > max(LONG / 2, 5 * every):
            since = sample.t + sample.cost / 2  # a sample's moment lies in the middle of its reading
        before = sample.t
        if sample.t - since >= LONG:
            yield sample


def long_idle(facts: Facts, sample: Sample, since: float) -> list[int]:
    """Returns the sessions that are out and have not been active for a second, taken since the first client came.

    Without a probe it is not known whether a session is out, nor since when.
    """
    pids = [
        row.pid
        for row in sample.backends
        if row.state != "active" and row.state_since is not None and sample.t - row.state_since > LONG
    ]
    if not facts.probed:
        return pids
    return [pid for pid in pids if (taken := out_at(facts, pid, sample.t)) is not None and taken >= since]


def out_at(facts: Facts, pid: int, moment: float) -> float | None:
    """Returns when a session was taken that was out at a moment, by its events; None when it was not out."""
    seen = facts.by_backend.get(pid, [])
    last = bisect_right(seen, moment, key=attrgetter("t")) - 1
    return seen[last].t if last >= 0 and seen[last].kind == "checkout" else None


def churn(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding when connections are opened anew for every second request or more, after the first cycle."""
    if not facts.probed or facts.job_only or len(facts.rests) < 2:
        return [], Check("churn", "clean", "not judged: it takes the probe's side, requests and two cycles")
    first_end, last_end = facts.after_first_cycle(), facts.rests[-1].begin
    opens = [event for event in facts.events("connect") if first_end < event.t <= last_end]
    beyond = [event for event in opens if not event.overflow]
    amount = sum(facts.amounts[1:])
    if not amount:
        return [], Check("churn", "clean", "no requests after the first cycle")
    per_1000, overflow = 1000 * len(beyond) / amount, 1000 * (len(opens) - len(beyond)) / amount
    why = f"{compact(per_1000)} connections opened per 1000 requests after the first cycle"
    if overflow >= 50:
        why += f", and {compact(overflow)} beyond pool_size (overflow churn: a larger pool_size would keep them)"
    if per_1000 < CHURN:
        return [], Check("churn", "clean", why)
    sites = Counter(event.stack for event in beyond if event.stack).most_common(1)
    site = sites[0][0] if sites else ()
    claim = (
        f"{compact(per_1000)} connections opened per 1000 requests after the first cycle ({len(beyond)} for {amount})"
    )
    if site:
        claim += f", most of them at {site[0]}"
    found = Finding(
        kind="churn",
        claim=claim + ": every request pays for a new session",
        sites=site[:1],
        first_seen=beyond[0].t,
        docs="docs/findings.md#churn",
    )
    return [found], Check("churn", "strained", why)
