"""held: the same checkout is out throughout the final idle window, and nothing in the app can still need it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from connleak.judging.checks.shared import across_processes
from connleak.judging.claims import format_rate, joined, plural, quoted, were
from connleak.judging.facts import Facts, per_site, unit
from connleak.judging.policy import FEWEST_WINDOWS, LEVELLING_OFF
from connleak.judging.rates import has_stopped, increments, rate
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import Backend, Holder, Site
from connleak.model.verdict import Check, Finding, Rate

SHOWN = 12
"""Cycles or windows whose counts a claim lists, the last ones."""

Findings = tuple[list[Finding], Check]


def held(facts: Facts) -> Findings:
    """Return a finding for each line whose checkouts are not returned."""
    if facts.last is None:
        return [], Check("held", "inconclusive", "no cycle reached an idle window, so returns cannot be judged")
    if not facts.probed:
        return held_by_server(facts)
    findings = []
    sharers = {event.process for event in across_processes(facts)}  # sharing breaks a connection: it is not returned
    for site, holders in per_site(facts.outstanding):
        leaked = [holder for holder in holders if holder.process not in sharers and reason(facts, holder)]
        if leaked:
            findings.append(finding(facts, site, leaked))
    findings += open_in_pool(facts)
    out = sum(len(found.backends) for found in findings)
    detail = f"{plural(out, 'connection')} not returned throughout {facts.last.duration:.1f} s without requests"
    broken = sum(holder.process in sharers for holder in facts.outstanding)
    kept = len(residents(facts))
    if broken:
        detail += f"; {broken} more in processes that use another process's session, which breaks it"
    elif kept:
        detail += f"; {kept} more kept on purpose"
    return findings, Check("held", "leak" if findings else "clean", detail)


def open_in_pool(facts: Facts) -> list[Finding]:
    """Return a finding for each line whose sessions are idle in their pool, in one transaction in every read."""
    assert facts.last is not None
    out = {holder.backend for snapshot in facts.last.snapshots for holder in snapshot.holders}
    by_stack: dict[tuple[Site, ...], list[Backend]] = {}
    for pid, rows in facts.last.present_throughout.items():
        begun = {row.xact_since for row in rows}
        if pid in facts.known_to_app - out and len(begun) == 1 and None not in begun:
            by_stack.setdefault(last_checkout(facts, pid), []).append(rows[-1])
    findings = []
    for stack, idle in by_stack.items():
        where = f"Last checked out, or its pool created, at {stack[0]}" if stack else "No line of the app is known"
        claim = (
            f"{plural(len(idle), 'connection')} {were(len(idle))} returned to the pool in an open transaction, which "
            f"lasted throughout {facts.last.duration:.1f} s without requests. {where}. "
            f"Last query: {quoted(idle[0].query)}"
        )
        findings.append(
            Finding(
                kind="held",
                claim=claim,
                backends=tuple(row.pid for row in idle),
                sites=stack,
                first_seen=min(row.xact_since or 0.0 for row in idle),
                docs=docs_anchor("held"),
            )
        )
    return findings


def last_checkout(facts: Facts, pid: int) -> tuple[Site, ...]:
    """Return the stack of a session's last checkout, else the line that created its pool."""
    seen = facts.by_backend.get(pid)
    if seen:
        return seen[-1].stack
    snapshot = facts.last.snapshot if facts.last else None
    return next(((pool.site,) for pool in (snapshot.pools if snapshot else ()) if pid in pool.idle and pool.site), ())


def reason(facts: Facts, holder: Holder) -> str:
    """Return why an outstanding checkout is leaked; empty if it may be kept on purpose."""
    assert facts.last is not None
    if facts.watched:
        return reason_under_load(facts, holder)
    if facts.aborted_in_cycle and holder.thread_alive and holder.now is not None:
        return ""  # its thread is in the app's code, which may still process an aborted request
    if facts.last.in_transaction(holder.backend):
        return "open transaction"
    if not holder.thread_alive:
        return "task ended" if holder.task else "thread ended"
    if holder.request and not holder.task and not singleton(facts, holder):
        return "request ended"  # a task that is still running may have been started by the request, and outlive it
    counts = facts.outstanding_at(holder.site)
    if len(counts) >= 2 and counts[-1] > counts[0] and not one_for_each_thread(facts, holder):
        return "more after each cycle"
    return ""


def reason_under_load(facts: Facts, holder: Holder) -> str:
    """Return the reason on a watched server, where a request may take long and only an idle transaction is certain."""
    assert facts.last is not None
    if facts.last.idle_in_transaction(holder.backend):
        return "open transaction"
    if not holder.thread_alive:
        return "task ended" if holder.task else "thread ended"
    counts = facts.outstanding_at(holder.site)[-FEWEST_WINDOWS:]
    rising = len(counts) == FEWEST_WINDOWS and min(increments(counts)) > 0
    return "more after each window" if rising and not one_for_each_thread(facts, holder) else ""


def singleton(facts: Facts, holder: Holder) -> bool:
    """Return whether a connection without a pool is the only one of its line in its process, like a lazy listener."""
    me = (holder.process, holder.site)
    return holder.source == "direct" and sum((other.process, other.site) == me for other in facts.outstanding) == 1


def one_for_each_thread(facts: Facts, holder: Holder) -> bool:
    """Return whether each thread has one checkout of the line at most, as with Django's CONN_MAX_AGE."""
    if holder.task:
        return False
    others = Counter((other.process, other.thread) for other in facts.outstanding if other.site == holder.site)
    return max(others.values()) == 1


def residents(facts: Facts) -> list[Holder]:
    """Return the connections that are kept on purpose: outstanding, without a reason to call them leaked."""
    if facts.last is None or not facts.probed:
        return []
    return [holder for holder in facts.outstanding if not reason(facts, holder)]


def finding(facts: Facts, site: Site | None, holders: list[Holder]) -> Finding:
    """Return the finding of one line, with the rate from the increments between idle windows."""
    counts = facts.outstanding_at(site)
    bounded = bounded_by(facts, site, holders, counts)
    found = None if bounded else slope(facts, counts)
    return Finding(
        kind="held",
        claim=claim_of(facts, site, holders, counts, found, bounded),
        rate=found,
        bounded_by=bounded,
        backends=tuple(sorted(holder.backend for holder in holders if holder.backend is not None)),
        sites=tuple(dict.fromkeys(s for holder in holders[:1] for s in holder.stack)),
        requests=by_request(facts, holders),
        first_seen=min(holder.since for holder in holders),
        docs=docs_anchor("held"),
    )


def claim_of(
    facts: Facts, site: Site | None, holders: list[Holder], counts: list[int], found: Rate | None, bounded: str
) -> str:
    """Return the claim: the number of checkouts, their line and state, and whether the number grows."""
    where = f"Checked out at {site}" if site else "Checked out where no line of the app is on the stack"
    names = Counter(holder.request for holder in holders if holder.request).most_common(1)
    where += f" ({names[0][0]})" if names else ""
    trend = f" (growing by {format_rate(found)})" if found else f" ({BOUNDS[bounded]})" if bounded else ""
    claim = (
        f"{plural(len(holders), 'connection')} {were(len(holders))} not returned. {where}, {states(facts, holders)} "
        f"{when(facts)}. Outstanding {'in each window' if facts.watched else 'after each cycle'}: "
        f"{joined(counts[-SHOWN:])}{trend}."
    )
    return claim + (f" Sessions before the load: {facts.baseline}." if facts.baseline else "")


def when(facts: Facts) -> str:
    """Return the time at which the checkouts are outstanding."""
    assert facts.last is not None
    if facts.watched:
        return f"throughout the last {facts.last.duration:.0f} s"
    if facts.job_only:
        return "throughout the final idle window"
    age = facts.last.end - max((r.t + r.seconds for r in facts.recording.requests), default=facts.last.begin)
    return f"{age:.1f} s after the load ended"


def by_request(facts: Facts, holders: list[Holder]) -> tuple[dict[str, Any], ...]:
    """Return the requests that the checkouts were made for: {name, held, of}, where `of` counts its checkouts."""
    held_for = Counter(holder.request for holder in holders if holder.request)
    checkouts = Counter(event.request for event in facts.events("checkout") if event.request in held_for)
    return tuple({"name": name, "held": count, "of": checkouts[name]} for name, count in held_for.most_common())


BOUNDS = {
    "pool": "the pool is full, so further callers wait and time out",
    "server": "the server is full and refuses further connections",
    "threads": "one per worker thread, so it will not grow",
    "collector": "the garbage collector returns some of them at times",
    "unknown": "it no longer grows, for a reason that this run does not show",
}


def slope(facts: Facts, counts: list[int]) -> Rate | None:
    """Return the rate of growth from the increments after the first idle window; None without growth."""
    steps, exposures = increments(counts), facts.exposures[1:]
    if not steps or sum(steps) <= 0:
        return None
    per, scale = unit(facts)
    return rate(sum(steps), sum(exposures), per, scale)


def bounded_by(facts: Facts, site: Site | None, holders: list[Holder], counts: list[int]) -> str:
    """Return the bound that ended the growth: pool, server, collector, threads or unknown; empty if it may continue."""
    steps = increments(counts)
    if not steps:
        return ""
    if pools_full(facts):
        return "pool"
    if facts.server_full:
        return "server"
    if not levels_off(counts, facts.exposures):
        return ""
    if any(event.gc and event.site == site for event in facts.events("checkin")):
        return "collector"
    threads = {(holder.process, holder.thread) for holder in holders}
    if len(threads) == len(holders) and all(holder.thread_alive for holder in holders):
        return "threads"
    return "unknown" if has_stopped(counts) else ""


def levels_off(counts: list[int], exposures: list[int]) -> bool:
    """Return whether the last cycle added little, compared with the cycle before it for the same load."""
    before, last = ([counts[0], *increments(counts)][i] / max(1, exposures[i]) for i in (-2, -1))
    return last <= LEVELLING_OFF * before


def pools_full(facts: Facts) -> bool:
    """Return whether every pool that is in use has all its connections checked out."""
    assert facts.last is not None
    snapshot = facts.last.snapshot
    pools = [pool for pool in snapshot.pools if pool.pool and pool.used] if snapshot else []
    bounded = [pool for pool in pools if pool.size > 0 and pool.max_overflow >= 0]
    return bool(bounded) and all(pool.checked_out >= pool.size + pool.max_overflow for pool in bounded)


def states(facts: Facts, holders: list[Holder]) -> str:
    """Return the state of the checkouts: open transactions, and threads or tasks that have ended."""
    assert facts.last is not None
    total = len(holders)
    parts = []
    for count, state in (
        (sum(facts.last.in_transaction(holder.backend) for holder in holders), "in an open transaction"),
        (sum(not holder.thread_alive and not holder.task for holder in holders), "by threads that have ended"),
        (sum(not holder.thread_alive and holder.task for holder in holders), "by tasks that have ended"),
    ):
        if count:
            parts.append(state if count == total else f"{count} {state}")
    return ", ".join(parts) or ("with an open file handle" if facts.kind == "sqlite" else "idle without a transaction")


def held_by_server(facts: Facts) -> Findings:
    """Judge by the server's side alone: sessions that are in the same transaction in every read of the window."""
    assert facts.last is not None
    stuck: list[Backend] = []
    for pid, rows in facts.last.present_throughout.items():
        forgotten = not facts.watched or facts.last.idle_in_transaction(pid)
        if len({row.xact_since for row in rows}) == 1 and rows[0].xact_since is not None and forgotten:
            stuck.append(rows[-1])
    if not stuck:
        detail = "no transaction stayed open; idle checkouts are visible only to a probe"
        return [], Check("held", "clean", detail)
    queries = sorted({row.query for row in stuck})
    others = f" and {len(queries) - 1} others" if len(queries) > 1 else ""
    claim = (
        f"{plural(len(stuck), 'session')} stayed in the same transaction throughout {facts.last.duration:.1f} s "
        f"{'of the watch' if facts.watched else 'without requests'}. Last query: {quoted(queries[0])}{others}. "
        f"{'Watch' if facts.watched else 'Run'} with the probe to see the line of code."
    )
    backends = tuple(sorted(row.pid for row in stuck))
    first = min(row.xact_since for row in stuck if row.xact_since is not None)
    found = Finding(kind="held", claim=claim, backends=backends, first_seen=first, docs=docs_anchor("held"))
    return [found], Check("held", "leak", f"{plural(len(stuck), 'session')} in one transaction throughout")
