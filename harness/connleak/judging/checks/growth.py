"""growth: idle sessions grow beyond what the app's pools may keep."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from connleak.judging.claims import format_rate, joined, plural
from connleak.judging.facts import Facts, unit
from connleak.judging.policy import CLOSED_BY_APP, FEWEST_WINDOWS
from connleak.judging.rates import increments, rate
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import Event, Site
from connleak.model.verdict import Check, Finding


def growth(facts: Facts) -> tuple[list[Finding], Check]:
    """Return findings for lines that keep creating pools, and for a level that rises with every cycle."""
    if not facts.windows:
        return [], Check("growth", "inconclusive", "no cycle reached an idle window")
    findings = recreated_pools(facts) or filled_server(facts) or more_processes(facts) if facts.probed else []
    findings = findings or climbing(facts)
    detail = f"idle sessions: {joined([window.level for window in facts.windows])}; {limit_of(facts)}"
    if not findings and not facts.probed and facts.windows[-1].level > allowed(facts):
        remedy = "watch the app with --listen and connleak probe" if facts.watched else "run with --probe pool"
        detail += (
            f"; without a probe, connections that a pool keeps look like leaked ones: {remedy}, or state how many the "
            "pools keep (--max-idle N)"
        )
        return [], Check("growth", "inconclusive", detail)
    return findings, Check("growth", "leak" if findings else "clean", detail)


def limit_of(facts: Facts) -> str:
    """Return the limit with which the idle sessions are compared, as text."""
    if not facts.probed:
        given = "" if facts.plan.max_idle_connections is None else f"; --max-idle {facts.plan.max_idle_connections}"
        return f"before the load: {facts.baseline}{given}"
    if unknown_pools(facts):
        return "the limits of some pools are unknown"
    return f"the pools may keep {facts.max_idle_connections}"


def recreated_pools(facts: Facts) -> list[Finding]:
    """Return a finding for each line that still creates pools after its process's first cycle, and leaves them idle.

    An engine that is disposed of each time leaves no session: that is churn, not growth.
    """
    made: dict[Site | None, list[Event]] = {}
    warm: dict[tuple[int, Site | None], float] = {}
    for event in facts.events("pool"):
        if event.t > warm.setdefault((event.process, event.site), facts.cycle_end(event.t)):
            made.setdefault(event.site, []).append(event)
    findings = []
    for site, events in made.items():
        levels = [in_extra_pools(facts, site, index) for index in range(len(facts.windows))]
        if site is None or not all(levels) or (level_stays(facts, site) and closed_by_app(facts, site)):
            continue
        per, scale = unit(facts)
        found = rate(len(events), sum(facts.exposures[1:]), per, scale)
        by_collector = sum(event.gc for event in facts.events("close"))
        closed = f" Only the garbage collector closes them ({by_collector} so far)." if by_collector else ""
        claim = (
            f"{plural(len(events), 'connection pool')} created at {site} after the first cycle, {format_rate(found)}. "
            f"Idle sessions in these pools after each cycle: {joined(levels)}; one pool per process may keep "
            f"{facts.max_idle_connections}.{closed}"
        )
        pids = idle_of(facts, site, len(facts.windows) - 1)
        findings.append(
            Finding(
                kind="growth",
                claim=claim,
                rate=found,
                backends=tuple(sorted(pids)),
                sites=events[-1].stack or (site,),
                first_seen=events[0].t,
                bounded_by="collector" if by_collector else "",
                docs=docs_anchor("growth"),
            )
        )
    return findings


def level_stays(facts: Facts, site: Site) -> bool:
    """Return whether no process has more idle sessions of the line in the last window than one had before.

    Per process, because a process that starts late adds a level.
    """
    most = []
    for window in facts.windows:
        idle = Counter[int]()
        for pool in window.snapshot.pools if window.snapshot else ():
            if pool.site == site:
                idle[pool.process] += len(pool.idle)
        most.append(max(idle.values(), default=0))
    return most[-1] <= max(most[:-1], default=0)


def closed_by_app(facts: Facts, site: Site) -> bool:
    """Return whether the app itself, not the collector, closes what the line's pools open, as a bounded cache does."""
    first_end = facts.after_first_cycle()
    pools = {(event.process, event.pool) for event in facts.events("pool") if event.site == site}

    def count(kind: str) -> int:
        return sum(
            event.t > first_end and not event.gc and (event.process, event.pool) in pools
            for event in facts.events(kind)
        )

    return count("close") >= CLOSED_BY_APP * count("connect")


def more_processes(facts: Facts) -> list[Finding]:
    """Return a finding if more processes have idle sessions after each cycle, and none of them ends.

    A process of the first cycle must be idle in the last one: where the server recycles or adds workers, all are used.
    """
    having = [
        {process.process for process in window.snapshot.processes if process.ports} if window.snapshot else set()
        for window in facts.windows
    ]
    counts, levels = [len(processes) for processes in having], [window.level for window in facts.windows]
    if len(counts) < FEWEST_WINDOWS or min(increments(counts)) <= 0 or min(increments(levels)) <= 0:
        return []
    begin, end = facts.windows[-2].end, facts.windows[-1].end
    used = {event.process for event in facts.events("connect", "checkout") if begin < event.t < end}
    if not all(before <= after for before, after in pairwise(having)) or not having[0] - used:
        return []
    snapshot = facts.windows[-1].snapshot
    pools = [pool.site for pool in snapshot.pools if pool.site and pool.idle] if snapshot else []
    holders = [holder.site for holder in snapshot.holders if holder.site] if snapshot else []
    sites = Counter(pools + holders).most_common(1)
    per, scale = unit(facts)
    found = rate(levels[-1] - levels[0], sum(facts.exposures[1:]), per, scale)
    claim = (
        f"The app's processes with idle sessions increased with every cycle: {joined(counts)}. Their sessions: "
        f"{joined(levels)}, {format_rate(found)}. No pool setting limits the number of processes."
    )
    return [
        Finding(
            kind="growth",
            claim=claim,
            rate=found,
            backends=tuple(facts.windows[-1].present_throughout),
            sites=tuple(site for site, _ in sites),
            first_seen=facts.windows[0].begin,
            docs=docs_anchor("growth"),
        )
    ]


def filled_server(facts: Facts) -> list[Finding]:
    """Return a finding for each line with several pools in a process, if the full server hides how they would grow."""
    last = facts.windows[-1]
    if not facts.server_full or last.snapshot is None:
        return []
    findings = []
    for site in {pool.site for pool in last.snapshot.pools if pool.site}:
        idle = idle_of(facts, site, -1) if in_extra_pools(facts, site, -1) else set()
        if len(idle) <= facts.max_idle_connections:
            continue
        pools = [pool for pool in last.snapshot.pools if pool.site == site and pool.idle]
        claim = (
            f"{plural(len(idle), 'idle session')} in {plural(len(pools), 'connection pool')} created at {site}; one "
            f"pool per process may keep {facts.max_idle_connections} in all. The server is full."
        )
        findings.append(
            Finding(
                kind="growth",
                claim=claim,
                backends=tuple(sorted(idle)),
                sites=(site,),
                first_seen=min(pool.created for pool in pools),
                bounded_by="server",
                docs=docs_anchor("growth"),
            )
        )
    return findings


def idle_of(facts: Facts, site: Site | None, index: int) -> set[int]:
    """Return the idle sessions of all pools created at a line, in one window."""
    snapshot = facts.windows[index].snapshot
    pools = snapshot.pools if snapshot else ()
    return {pid for pool in pools if pool.site == site for pid in pool.idle}


def in_extra_pools(facts: Facts, site: Site | None, index: int) -> int:
    """Return how many idle sessions the line's pools have in one window; 0 if no process has more than one pool."""
    snapshot = facts.windows[index].snapshot
    pools = [pool for pool in snapshot.pools if pool.site == site and pool.idle] if snapshot else []
    processes = Counter(pool.process for pool in pools)
    return len(idle_of(facts, site, index)) if any(count > 1 for count in processes.values()) else 0


def allowed(facts: Facts) -> int:
    """Return how many idle sessions are allowed: by the pools' limits, else by --max-idle or the baseline."""
    if facts.probed:
        return facts.max_idle_connections
    return max(facts.baseline, facts.plan.max_idle_connections or 0)


def still_filling(facts: Facts) -> float:
    """Return how many idle sessions pools of unknown limits may have while they fill; 0 if the limits are known.

    A pool opens a session only if all of its sessions are in use, so each process needs one for each user at most.
    """
    if facts.probed or facts.plan.max_idle_connections is not None or facts.last is None:
        return 0
    if facts.watched:
        return float("inf")  # the number of users is unknown
    snapshot = facts.last.snapshot
    processes = sum(bool(process.ports) for process in snapshot.processes) if snapshot else 0
    return facts.plan.users * max(1, processes)


def unknown_pools(facts: Facts) -> bool:
    """Return whether a process is known only by its events, which do not contain the limits of its pools."""
    return any(pool.kind == "events" for window in facts.windows if window.snapshot for pool in window.snapshot.pools)


def thirds(facts: Facts) -> list[int]:
    """Return the lowest level in each third of the windows: sessions that are never closed."""
    levels = [window.level for window in facts.windows]
    size = len(levels) // 3
    return [min(levels[i : i + size]) for i in (0, size, len(levels) - size)] if size else levels


def climbing(facts: Facts) -> list[Finding]:
    """Return a finding if the level rises in every cycle, over three or more, beyond what is allowed."""
    if unknown_pools(facts):
        return []
    limit = allowed(facts)
    if facts.windows and facts.windows[-1].level <= still_filling(facts):
        return []
    levels = thirds(facts) if facts.watched else [window.level for window in facts.windows]
    over = [max(0, level - limit) for level in levels]
    steps = increments(over)
    if len(over) < FEWEST_WINDOWS or not all(step > 0 for step in steps):
        return []
    last = facts.windows[-1]
    explained = {holder.backend for snapshot in last.snapshots for holder in snapshot.holders}
    pids = tuple(pid for pid in last.present_throughout if pid not in explained)
    if facts.probed and len(pids) <= limit:
        return []  # the holders explain them
    per, scale = unit(facts)
    found = rate(sum(steps), sum(facts.exposures[1:]), per, scale)
    trend = "Sessions that last a whole window increased in each third of the watch" if facts.watched else ""
    trend = trend or "Idle sessions increased with every cycle"
    claim = f"{trend}: {joined(levels)}, beyond the {limit} allowed, {format_rate(found)}."
    return [
        Finding(
            kind="growth",
            claim=claim,
            rate=found,
            backends=pids,
            first_seen=facts.windows[0].begin,
            docs=docs_anchor("growth"),
        )
    ]
