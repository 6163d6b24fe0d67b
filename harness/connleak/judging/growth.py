"""growth: the sessions at rest grow beyond what the app's pools may keep."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from connleak.judging.facts import Facts, plural, unit
from connleak.judging.rates import increments, rate, spoken
from connleak.model.recording import Event, Site
from connleak.model.verdict import Check, Finding


def growth(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns findings for lines that go on making pools, and for a level that climbs with every cycle."""
    if not facts.rests:
        return [], Check("growth", "inconclusive", "no cycle came to rest")
    findings = remade_pools(facts) or filled_server(facts) or more_processes(facts) if facts.probed else []
    if not findings:
        findings = climbing(facts)
    levels = ", ".join(str(rest.level) for rest in facts.rests)
    if facts.probed:
        limit = (
            "what the pools may keep could not be asked"
            if unknown_pools(facts)
            else f"the pools may keep {facts.budget}"
        )
        why = f"sessions at rest: {levels}; {limit}"
    else:
        given = "" if facts.plan.max_idle_connections is None else f"; --max-idle {facts.plan.max_idle_connections}"
        why = f"sessions at rest: {levels}; before the load: {facts.baseline}{given}"
    outcome = "leak" if findings else "clean"
    cure = "watch the app with --listen and connleak probe" if facts.watched else "run with --probe pool"
    if not findings and not facts.probed and facts.rests[-1].level > allowed_at_rest(facts):
        return [], Check(
            "growth",
            "inconclusive",
            f"{why}; without a probe it cannot be told whether pools keep them: {cure}, or say what they may keep "
            "(--max-idle N)",
        )
    return findings, Check("growth", outcome, why)  # type: ignore[arg-type]


def remade_pools(facts: Facts) -> list[Finding]:
    """Pools that are still made at a line after their process's first cycle with it, and that leave sessions at rest.

    Engines that are disposed of each time leave none: that is churn, not growth.
    """
    made: dict[Site | None, list[Event]] = {}
    warm: dict[tuple[int, Site | None], float] = {}
    for event in facts.events("pool"):
        if event.t > warm.setdefault((event.process, event.site), facts.cycle_end(event.t)):
            made.setdefault(event.site, []).append(event)
    findings = []
    for site, events in made.items():
        levels = [over_budget(facts, site, index) for index in range(len(facts.rests))]
        if site is None or not all(levels) or (level_stays(facts, site) and closed_by_app(facts, site)):
            continue
        amount = sum(facts.amounts[1:])
        per, scale = unit(facts)
        found = rate(len(events), amount, per, scale)
        claim = (
            f"{plural(len(events), 'connection pool')} made at {site} after the first cycle, {spoken(found)}; "
            f"their sessions at rest after each cycle: {', '.join(map(str, levels))}, "
            f"where one pool a process may keep {facts.budget}"
        )
        by_collector = sum(event.gc for event in facts.events("close"))
        if by_collector:
            claim += f"; only the garbage collector closes them ({by_collector} so far)"
        pids = idle_of(facts, site, len(facts.rests) - 1)
        findings.append(
            Finding(
                kind="growth",
                claim=claim,
                rate=found,
                backends=tuple(sorted(pids)),
                sites=events[-1].stack or (site,),
                first_seen=events[0].t,
                bounded_by="collector" if by_collector else "",
                docs="docs/findings.md#growth",
            )
        )
    return findings


def level_stays(facts: Facts, site: Site) -> bool:
    """Tells whether no process has more of the line's sessions at the last rest than one had before.

    By process, for one that begins late brings a level of its own.
    """
    most = []
    for rest in facts.rests:
        idle = Counter[int]()
        for pool in rest.snapshot.pools if rest.snapshot else ():
            if pool.site == site:
                idle[pool.process] += len(pool.idle)
        most.append(max(idle.values(), default=0))
    return most[-1] <= max(most[:-1], default=0)


def closed_by_app(facts: Facts, site: Site) -> bool:
    """Tells whether the app itself closes what the line's pools open, as a bounded cache does, not the collector."""
    first_end = facts.after_first_cycle()
    pools = {(event.process, event.pool) for event in facts.events("pool") if event.site == site}

    def count(kind: str) -> int:
        return sum(
            event.t > first_end and not event.gc and (event.process, event.pool) in pools
            for event in facts.events(kind)
        )

    return count("close") >= 0.9 * count("connect")


def more_processes(facts: Facts) -> list[Finding]:
    """Processes of the app that have sessions at rest, more after each of three or more cycles, of which none ends.

    The first cycle's must be idle in the last one: a server that recycles its workers, or adds some, has them all work.
    """
    having = [
        {process.process for process in rest.snapshot.processes if process.ports} if rest.snapshot else set()
        for rest in facts.rests
    ]
    counts, levels = [len(processes) for processes in having], [rest.level for rest in facts.rests]
    if len(counts) < 3 or min(increments(counts)) <= 0 or min(increments(levels)) <= 0:
        return []
    lately = {e.process for e in facts.events("connect", "checkout") if facts.rests[-2].end < e.t < facts.rests[-1].end}
    if not all(before <= after for before, after in pairwise(having)) or not having[0] - lately:
        return []
    snapshot = facts.rests[-1].snapshot
    pools = [pool.site for pool in snapshot.pools if pool.site and pool.idle] if snapshot else []
    holders = [holder.site for holder in snapshot.holders if holder.site] if snapshot else []
    sites = Counter(pools + holders).most_common(1)
    per, scale = unit(facts)
    found = rate(levels[-1] - levels[0], sum(facts.amounts[1:]), per, scale)
    claim = (
        f"processes of the app with sessions at rest rose with every cycle, {', '.join(map(str, counts))}, and their "
        f"sessions, {', '.join(map(str, levels))}: {spoken(found)}; no pool's settings bound that"
    )
    return [
        Finding(
            kind="growth",
            claim=claim,
            rate=found,
            backends=tuple(facts.rests[-1].stayed),
            sites=tuple(site for site, _ in sites),
            first_seen=facts.rests[0].begin,
            docs="docs/findings.md#growth",
        )
    ]


def filled_server(facts: Facts) -> list[Finding]:
    """Lines of which a process has several pools, when the server is full at rest: it hides how they would grow."""
    last = facts.rests[-1]
    if not facts.server_full or last.snapshot is None:
        return []
    findings = []
    for site in {pool.site for pool in last.snapshot.pools if pool.site}:
        idle = idle_of(facts, site, -1) if over_budget(facts, site, -1) else set()
        if len(idle) <= facts.budget:
            continue
        pools = [pool for pool in last.snapshot.pools if pool.site == site and pool.idle]
        claim = (
            f"{plural(len(idle), 'session')} at rest in {plural(len(pools), 'connection pool')} made at {site}, where "
            f"one pool a process may keep {facts.budget} in all; the server is full with them"
        )
        findings.append(
            Finding(
                kind="growth",
                claim=claim,
                backends=tuple(sorted(idle)),
                sites=(site,),
                first_seen=min(pool.created for pool in pools),
                bounded_by="server",
                docs="docs/findings.md#growth",
            )
        )
    return findings


def idle_of(facts: Facts, site: Site | None, index: int) -> set[int]:
    """Returns the idle sessions of all pools made at a line, at a rest."""
    snapshot = facts.rests[index].snapshot
    pools = snapshot.pools if snapshot else ()
    return {pid for pool in pools if pool.site == site for pid in pool.idle}


def over_budget(facts: Facts, site: Site | None, index: int) -> int:
    """Returns how many sessions of the line's pools are at rest, beyond one pool's a process: 0 when no more."""
    snapshot = facts.rests[index].snapshot
    pools = [pool for pool in snapshot.pools if pool.site == site and pool.idle] if snapshot else []
    processes = Counter(pool.process for pool in pools)
    return len(idle_of(facts, site, index)) if any(count > 1 for count in processes.values()) else 0


def allowed_at_rest(facts: Facts) -> int:
    """Returns how many sessions may be at rest: the pools' budget; without a probe the user's, or the baseline's."""
    if facts.probed:
        return facts.budget
    return max(facts.baseline, facts.plan.max_idle_connections or 0)


def still_filling(facts: Facts) -> float:
    """Returns up to how many sessions pools nobody knows of may climb while they fill: 0 where that is known.

    A pool opens another session only when all of its own are in use, so no process needs more than all users at once.
    """
    if facts.probed or facts.plan.max_idle_connections is not None or facts.last is None:
        return 0
    if facts.watched:
        return float("inf")  # nobody knows how many users there are
    snapshot = facts.last.snapshot
    processes = sum(bool(process.ports) for process in snapshot.processes) if snapshot else 0
    return facts.plan.users * max(1, processes)


def unknown_pools(facts: Facts) -> bool:
    """Tells whether some process could only be known by its events, which do not say what its pools may keep."""
    return any(pool.kind == "events" for rest in facts.rests if rest.snapshot for pool in rest.snapshot.pools)


def thirds(facts: Facts) -> list[int]:
    """Returns the lowest level in each third of the windows: what is never given up."""
    levels = [rest.level for rest in facts.rests]
    size = len(levels) // 3
    return [min(levels[i : i + size]) for i in (0, size, len(levels) - size)] if size else levels


def climbing(facts: Facts) -> list[Finding]:
    """A level that rises in every cycle, over three or more, beyond the budget (the baseline without a probe)."""
    if unknown_pools(facts):
        return []
    allowed = allowed_at_rest(facts)
    if facts.rests and facts.rests[-1].level <= still_filling(facts):
        return []
    levels = thirds(facts) if facts.watched else [rest.level for rest in facts.rests]
    over = [max(0, level - allowed) for level in levels]
    steps = increments(over)
    if len(over) < 3 or not all(step > 0 for step in steps):
        return []
    last = facts.rests[-1]
    explained = {holder.backend for snapshot in last.snapshots for holder in snapshot.holders}
    pids = tuple(pid for pid in last.stayed if pid not in explained)
    if facts.probed and len(pids) <= allowed:
        return []  # the holders say more about them
    per, scale = unit(facts)
    found = rate(sum(steps), sum(facts.amounts[1:]), per, scale)
    where = (
        "that stay through a window rose in each third of the time"
        if facts.watched
        else "at rest rose with every cycle"
    )
    claim = (
        f"sessions {where}, {', '.join(map(str, levels))}, beyond the {allowed} that were allowed for: {spoken(found)}"
    )
    return [
        Finding(
            kind="growth",
            claim=claim,
            rate=found,
            backends=pids,
            first_seen=facts.rests[0].begin,
            docs="docs/findings.md#growth",
        )
    ]
