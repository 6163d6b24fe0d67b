"""held: the same checkout still out all through the quiet window, for a reason that is no purpose."""

from __future__ import annotations

from collections import Counter
from typing import Any

from connleak.judging.facts import Facts, per_site, plural, unit
from connleak.judging.rates import has_stopped, increments, rate, spoken
from connleak.judging.shared import across_processes
from connleak.model.recording import Backend, Holder, Site
from connleak.model.verdict import Check, Finding, Rate


def held(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding for each line that holds connections at rest."""
    if facts.last is None:
        return [], Check(
            "held", "inconclusive", "no cycle came to rest, so nothing can be said about what was given back"
        )
    if not facts.probed:
        return held_by_server(facts)
    findings = []
    sharers = {event.process for event in across_processes(facts)}  # what they speak on breaks, and is not given back
    for site, holders in per_site(facts.persistent):
        guilty = [holder for holder in holders if holder.process not in sharers and reason(facts, holder)]
        if guilty:
            findings.append(finding(facts, site, guilty))
    findings += open_in_pool(facts)
    out = sum(len(found.backends) for found in findings)
    kept = len(residents(facts))
    why = f"{plural(out, 'checkout')} out all through {facts.last.end - facts.last.begin:.1f} s of rest"
    broken = sum(holder.process in sharers for holder in facts.persistent)
    if broken:
        why += f"; {broken} more in processes that use another's session, which breaks"
        kept = 0
    if kept:
        why += f"; {plural(kept, 'more')} kept on purpose" if kept == 1 else f"; {kept} more kept on purpose"
    return findings, Check("held", "leak" if findings else "clean", why)


def open_in_pool(facts: Facts) -> list[Finding]:
    """Returns a finding for the sessions that lie in their pool with the same transaction open in every read."""
    assert facts.last is not None
    out = {holder.backend for snapshot in facts.last.snapshots for holder in snapshot.holders}
    by_site: dict[tuple[Site, ...], list[Backend]] = {}
    for pid, rows in facts.last.stayed.items():
        begun = {row.xact_since for row in rows}
        if pid in facts.known - out and len(begun) == 1 and None not in begun:
            by_site.setdefault(last_taken(facts, pid), []).append(rows[-1])
    findings = []
    for stack, idle in by_site.items():
        where = f"taken last, or its pool made, at {stack[0]}" if stack else "which no line of the app ever took"
        claim = (
            f"{plural(len(idle), 'session')} in the pool, given back, kept the same transaction open through "
            f"{facts.last.end - facts.last.begin:.1f} s of rest, {where}; last query: {idle[0].query[:80]}"
        )
        findings.append(
            Finding(
                kind="held",
                claim=claim,
                backends=tuple(row.pid for row in idle),
                sites=stack,
                first_seen=min(row.xact_since or 0.0 for row in idle),
                docs="docs/findings.md#held",
            )
        )
    return findings


def last_taken(facts: Facts, pid: int) -> tuple[Site, ...]:
    """Returns the stack of a session's last checkout, else the line that made its pool."""
    seen = facts.by_backend.get(pid)
    if seen:
        return seen[-1].stack
    snapshot = facts.last.snapshot if facts.last else None
    return next(((pool.site,) for pool in (snapshot.pools if snapshot else ()) if pid in pool.idle and pool.site), ())


def reason(facts: Facts, holder: Holder) -> str:
    """Returns why a persistent checkout is no resident: a transaction, an ended request or thread, a growing line."""
    assert facts.last is not None
    if facts.watched:
        return reason_under_load(facts, holder)
    if facts.cut and holder.thread_alive and holder.now is not None:
        return ""  # its thread stands in the app's code: a request that was cut is not over there
    if facts.last.in_transaction(holder.backend):
        return "in a transaction"
    if not holder.thread_alive:
        return "task ended" if holder.task else "thread ended"
    if holder.request and not holder.task and not singleton(facts, holder):
        return "request ended"  # at rest every request is over; a task that still runs was only begun in one
    counts = facts.holders_at(holder.site)
    if len(counts) >= 2 and counts[-1] > counts[0] and not one_for_each_thread(facts, holder):
        return "more after each cycle"
    return ""


def reason_under_load(facts: Facts, holder: Holder) -> str:
    """The same where requests go on: one may take long, but a transaction in which nothing runs is forgotten."""
    assert facts.last is not None
    if facts.last.idle_in_transaction(holder.backend):
        return "in a transaction"
    if not holder.thread_alive:
        return "task ended" if holder.task else "thread ended"
    counts = facts.holders_at(holder.site)[-3:]
    rising = len(counts) == 3 and min(increments(counts)) > 0
    return "more after each window" if rising and not one_for_each_thread(facts, holder) else ""


def singleton(facts: Facts, holder: Holder) -> bool:
    """Tells whether a connection opened by hand is the only one of its line in its process: a listener begun lazily."""
    me = (holder.process, holder.site)
    return holder.source == "direct" and sum((other.process, other.site) == me for other in facts.persistent) == 1


def one_for_each_thread(facts: Facts, holder: Holder) -> bool:
    """Tells whether no living thread has two of the line: one is kept for each thread, as CONN_MAX_AGE says."""
    if holder.task:
        return False
    others = Counter((other.process, other.thread) for other in facts.persistent if other.site == holder.site)
    return max(others.values()) == 1


def residents(facts: Facts) -> list[Holder]:
    """Returns the connections that are kept on purpose: out at rest, and none of the reasons holds."""
    if facts.last is None or not facts.probed:
        return []
    return [holder for holder in facts.persistent if not reason(facts, holder)]


def finding(facts: Facts, site: Site | None, holders: list[Holder]) -> Finding:
    """Returns the finding of one line, with the rate from the steps between rests."""
    assert facts.last is not None
    counts = facts.holders_at(site)
    bounded = bounded_by(facts, site, holders, counts)
    found = None if bounded else slope(facts, counts)
    age = facts.last.end - max((r.t + r.seconds for r in facts.recording.requests), default=facts.last.begin)
    before = "" if facts.baseline == 0 else f" (before it: {facts.baseline})"
    where = f"taken at {site}" if site else "taken where no line of the app's own was on the stack"
    when = f"{age:.1f} s after the load ended{before}" if not facts.job_only else "all through the quiet window"
    when = f"all through the last {facts.last.end - facts.last.begin:.0f} s" if facts.watched else when
    claim = f"{plural(len(holders), 'connection')} still held {when}, {where}; {states(facts, holders)}"
    if any(holder.request for holder in holders):
        claim += f", taken for {Counter(holder.request for holder in holders if holder.request).most_common(1)[0][0]}"
    claim += f"; held {'in each window' if facts.watched else 'after each cycle'}: {', '.join(map(str, counts[-12:]))}"
    if found:
        claim += f", that is {spoken(found)}"
    if bounded:
        claim += f"; it grows no further, bounded by {BOUNDS[bounded]}"
    return Finding(
        kind="held",
        claim=claim,
        rate=found,
        bounded_by=bounded,
        backends=tuple(sorted(holder.backend for holder in holders if holder.backend is not None)),
        sites=tuple(dict.fromkeys(s for holder in holders[:1] for s in holder.stack)),
        requests=by_request(facts, holders),
        first_seen=min(holder.since for holder in holders),
        docs="docs/findings.md#held",
    )


def by_request(facts: Facts, holders: list[Holder]) -> tuple[dict[str, Any], ...]:
    """Returns which requests the held connections were taken for: {name, held, of so many checkouts for it}."""
    held_for = Counter(holder.request for holder in holders if holder.request)
    taken_for = Counter(event.request for event in facts.events("checkout") if event.request in held_for)
    return tuple({"name": name, "held": count, "of": taken_for[name]} for name, count in held_for.most_common())


BOUNDS = {
    "pool": "the pool, which is full: further callers wait and give up",
    "server": "the server, which is full and refuses any more",
    "threads": "the number of threads, each of which keeps one",
    "collector": "the garbage collector, which now and then finds them",
    "unknown": "something that this run does not show",
}


def slope(facts: Facts, counts: list[int]) -> Rate | None:
    """Returns the rate of growth from the steps after the first rest; None when there is none."""
    steps, amounts = increments(counts), facts.amounts[1:]
    if not steps or sum(steps) <= 0:
        return None
    per, scale = unit(facts)
    return rate(sum(steps), sum(amounts), per, scale)


def bounded_by(facts: Facts, site: Site | None, holders: list[Holder], counts: list[int]) -> str:
    """Returns what keeps the number from growing further, when it has stopped: pool, threads, collector, unknown."""
    steps = increments(counts)
    if not steps:
        return ""
    if pools_full(facts):
        return "pool"
    if facts.server_full:
        return "server"
    if not levels_off(counts, facts.amounts):
        return ""
    if any(event.gc and event.site == site for event in facts.events("checkin")):
        return "collector"
    threads = {(holder.process, holder.thread) for holder in holders}
    if len(threads) == len(holders) and all(holder.thread_alive for holder in holders):
        return "threads"
    return "unknown" if has_stopped(counts) else ""


def levels_off(counts: list[int], amounts: list[int]) -> bool:
    """Tells whether the last cycle added little: at most a quarter of what the one before did for the same load."""
    before, last = ([counts[0], *increments(counts)][i] / max(1, amounts[i]) for i in (-2, -1))
    return last <= 0.25 * before


def pools_full(facts: Facts) -> bool:
    """Tells whether every used pool has all its connections out at rest."""
    assert facts.last is not None
    snapshot = facts.last.snapshot
    pools = [pool for pool in snapshot.pools if pool.pool and pool.used] if snapshot else []
    bounded = [pool for pool in pools if pool.size > 0 and pool.max_overflow >= 0]
    return bool(bounded) and all(pool.checked_out >= pool.size + pool.max_overflow for pool in bounded)


def states(facts: Facts, holders: list[Holder]) -> str:
    """Returns what is striking about the holders: open transactions, dead threads."""
    assert facts.last is not None
    total = len(holders)
    parts = []
    for count, words in (
        (sum(facts.last.in_transaction(holder.backend) for holder in holders), "in an open transaction"),
        (sum(not holder.thread_alive and not holder.task for holder in holders), "by threads that have ended"),
        (sum(not holder.thread_alive and holder.task for holder in holders), "by tasks that have ended"),
    ):
        if count:
            parts.append(f"{'all' if count == total else count} {words}")
    return ", ".join(parts) or ("handles open" if facts.kind == "sqlite" else "idle, with no transaction open")


def held_by_server(facts: Facts) -> tuple[list[Finding], Check]:
    """The server's side alone: sessions whose same transaction is open in every read of the window."""
    assert facts.last is not None
    stuck: list[Backend] = []
    for pid, rows in facts.last.stayed.items():
        forgotten = not facts.watched or facts.last.idle_in_transaction(pid)
        if len({row.xact_since for row in rows}) == 1 and rows[0].xact_since is not None and forgotten:
            stuck.append(rows[-1])
    if not stuck:
        return [], Check("held", "clean", "no transaction stayed open; without a probe, idle checkouts are not seen")
    queries = sorted({row.query for row in stuck})
    claim = (
        f"{plural(len(stuck), 'session')} kept the same transaction open through "
        f"{facts.last.end - facts.last.begin:.1f} s of rest; last query: {queries[0][:80]}"
        + (f" and {len(queries) - 1} others" if len(queries) > 1 else "")
        + f"; {'watch it with' if facts.watched else 'run with'} the probe to see the line of code"
    )
    backends = tuple(sorted(row.pid for row in stuck))
    first = min(row.xact_since for row in stuck if row.xact_since is not None)
    found = Finding(kind="held", claim=claim, backends=backends, first_seen=first, docs="docs/findings.md#held")
    return [found], Check("held", "leak", f"{plural(len(stuck), 'session')} in one transaction throughout")
