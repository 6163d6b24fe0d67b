"""over-budget: the app's pools, as far as its callers can fill them, exceed the server's connections."""

from __future__ import annotations

from collections import Counter

from connleak.judging.checks import NEEDS_PROBE, NEEDS_WINDOW, skipped
from connleak.judging.facts import Facts
from connleak.model.outcomes import docs_anchor
from connleak.model.verdict import Check, Finding


def over_budget(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding if the pools may open more connections than the server has for the app."""
    if not facts.probed:
        return skipped("over-budget", NEEDS_PROBE)
    if facts.last is None or facts.last.snapshot is None:
        return skipped("over-budget", NEEDS_WINDOW)
    threads: dict[int, set[int]] = {}
    for event in facts.events("checkout"):
        threads.setdefault(event.process, set()).add(event.thread)
    callers = concurrent_callers(facts)  # greenlets and tasks share a thread
    limits: Counter[int] = Counter()
    for pool in facts.last.snapshot.pools:
        if pool.pool and pool.used and pool.size > 0 and pool.max_overflow >= 0:
            limits[pool.process] += pool.size + pool.max_overflow
    reachable = sum(
        min(limit, max(len(threads.get(process, ())), callers.get(process, 0))) for process, limit in limits.items()
    )
    available = facts.available_connections
    detail = (
        f"the pools may open {limits.total()} connections, {reachable} with the callers seen; "
        f"the server has {available}"
    )
    if reachable <= available:
        return [], Check("over-budget", "clean", detail)
    claim = f"{detail[0].upper()}{detail[1:]}. Under full load, the server will refuse connections."
    found = Finding(kind="over-budget", claim=claim, docs=docs_anchor("over-budget"))
    return [found], Check("over-budget", "strained", detail)


def concurrent_callers(facts: Facts) -> dict[int, int]:
    """Return, for each process, the most callers that had or waited for a connection at the same time."""
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
