"""lock-held: a lock that outlived its unit of work. refused: the driver said no. lost-slots: a pool counts nobody's."""

from __future__ import annotations

from collections import Counter

from connleak.judging.facts import Facts, plural
from connleak.model.recording import NoteCode, process_name
from connleak.model.verdict import Check, Finding


def lock_held(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding when a session that is idle in its pool has an advisory lock all through the rest."""
    last = facts.last
    if last is None:
        return [], Check("lock-held", "inconclusive", "no cycle came to rest")
    locked = set(last.samples[0].locks).intersection(*(sample.locks for sample in last.samples)) & set(last.stayed)
    out = {holder.backend for holder in facts.persistent}
    guilty = sorted(pid for pid in locked if not last.in_transaction(pid) and (not facts.probed or pid not in out))
    if not guilty:
        kept = f"; {plural(len(locked), 'session')} with one, on purpose or in a transaction" if locked else ""
        return [], Check("lock-held", "clean", f"no advisory lock left behind{kept}")
    row = last.stayed[guilty[0]][-1]
    # which checkout took the lock is not known: these are the lines that the sessions were taken at
    lines = Counter(event.site for pid in guilty for event in facts.by_backend.get(pid, ()) if event.site)
    sites = tuple(site for site, _ in lines.most_common(5))
    claim = (
        f"{plural(len(guilty), 'session')} went back to the pool with an advisory lock, which nobody there releases; "
        + (f"they were taken at {', '.join(map(str, sites))}" if sites else f"last query: {row.query[:80]}")
    )
    found = Finding(
        kind="lock-held",
        claim=claim,
        backends=tuple(guilty),
        sites=sites,
        first_seen=row.state_since,
        docs="docs/findings.md#lock-held",
    )
    return [found], Check("lock-held", "leak", f"{plural(len(guilty), 'session')} idle with an advisory lock")


def refused(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding when a driver's own words say that a connection was used where it may not be."""
    words: Counter[str] = Counter()
    gone, closed = 0, ""
    for note in facts.recording.notes:
        if note.code == NoteCode.CONNECTION_CLOSED and facts.outage:
            gone += note.facts.count
            closed = note.facts.phrase
        elif note.code in (NoteCode.DRIVER_ERROR, NoteCode.CONNECTION_CLOSED):
            words[note.facts.phrase] += note.facts.count
    if not words and gone:
        why = f"the app's log says {plural(gone, 'time')}: {closed}; so would any app's, for the server was away"
        return [], Check("refused", "inconclusive", why)
    if not words:
        return [], Check("refused", "clean", "no driver said no")
    phrase, count = words.most_common(1)[0]
    claim = f"the app's log says {plural(count, 'time')}: {phrase}"
    if len(words) > 1:
        claim += f" (and {plural(len(words) - 1, 'other refusal')})"
    found = Finding(kind="refused", claim=claim, docs="docs/findings.md#refused")
    return [found], Check("refused", "fault", f"{plural(sum(words.values()), 'line')} of the app's log")


def lost_slots(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding when a pool counts more connections as out than anybody has, all through the rest."""
    last = facts.last
    if not facts.probed or last is None or not last.snapshots:
        return [], Check("lost-slots", "clean", "not judged: it takes the probe's side, and a rest")
    if any(process.dropped for snapshot in last.snapshots for process in snapshot.processes):
        return [], Check("lost-slots", "inconclusive", "the probe dropped events, so it may have missed checkouts")
    lost: list[dict[tuple[int, int], int]] = []
    for snapshot in last.snapshots:
        have = Counter((holder.process, holder.pool) for holder in snapshot.holders)
        lost.append(
            {
                (pool.process, pool.pool): pool.checked_out - have[pool.process, pool.pool]
                for pool in snapshot.pools
                if pool.used and pool.checked_out > have[pool.process, pool.pool]
            }
        )
    same = {key: count for key, count in lost[0].items() if all(other.get(key) == count for other in lost)}
    if not same:
        return [], Check("lost-slots", "clean", "every pool counts what its callers have")
    if facts.cut:
        why = "a pool counts more than its callers have: a request that was cut may still be opening a connection"
        return [], Check("lost-slots", "inconclusive", why)
    (process, pool_number), count = max(same.items(), key=lambda item: item[1])
    pool = next(p for p in last.snapshots[-1].pools if (p.process, p.pool) == (process, pool_number))
    claim = (
        f"the pool of process {process_name(process)} counts {plural(pool.checked_out, 'connection')} as out, of which "
        f"nobody has {count}: these slots of {pool.size} + {pool.max_overflow} are lost until it restarts"
    )
    sites = (pool.site,) if pool.site else ()
    found = Finding(kind="lost-slots", claim=claim, sites=sites, docs="docs/findings.md#lost-slots")
    return [found], Check("lost-slots", "fault", f"{plural(sum(same.values()), 'slot')} lost")
