"""lost-slots: a pool counts more connections as checked out than its callers have."""

from __future__ import annotations

from collections import Counter

from connleak.judging.checks import NEEDS_PROBE, NEEDS_WINDOW, skipped
from connleak.judging.claims import plural
from connleak.judging.facts import Facts
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import Snapshot, process_name
from connleak.model.verdict import Check, Finding


def lost_slots(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding if a pool counts connections as checked out, throughout the window, that no caller has."""
    last = facts.last
    if not facts.probed:
        return skipped("lost-slots", NEEDS_PROBE)
    if last is None or not last.snapshots:
        return skipped("lost-slots", NEEDS_WINDOW)
    if any(process.dropped for snapshot in last.snapshots for process in snapshot.processes):
        return [], Check("lost-slots", "inconclusive", "the probe dropped events, so it may have missed checkouts")
    first, *others = [lost_in(snapshot) for snapshot in last.snapshots]
    lost = {key: count for key, count in first.items() if all(other.get(key) == count for other in others)}
    if not lost:
        return [], Check("lost-slots", "clean", "every pool counts the checkouts that its callers have")
    if facts.aborted_in_cycle:
        detail = "a pool counts more checkouts than its callers have: an aborted request may be opening a connection"
        return [], Check("lost-slots", "inconclusive", detail)
    (process, pool_number), count = max(lost.items(), key=lambda item: item[1])
    pool = next(p for p in last.snapshots[-1].pools if (p.process, p.pool) == (process, pool_number))
    claim = (
        f"The pool of process {process_name(process)} counts {plural(pool.checked_out, 'connection')} as checked out, "
        f"but no caller has {count} of them. These slots of {pool.size} + {pool.max_overflow} are lost until the "
        "process restarts."
    )
    sites = (pool.site,) if pool.site else ()
    found = Finding(kind="lost-slots", claim=claim, sites=sites, docs=docs_anchor("lost-slots"))
    return [found], Check("lost-slots", "fault", f"{plural(sum(lost.values()), 'slot')} lost")


def lost_in(snapshot: Snapshot) -> dict[tuple[int, int], int]:
    """Return how many checkouts without a holder each pool counts, where there are any."""
    have = Counter((holder.process, holder.pool) for holder in snapshot.holders)
    return {
        (pool.process, pool.pool): pool.checked_out - have[pool.process, pool.pool]
        for pool in snapshot.pools
        if pool.used and pool.checked_out > have[pool.process, pool.pool]
    }
