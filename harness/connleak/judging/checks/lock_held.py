"""lock-held: a connection was returned to its pool with an advisory lock."""

from __future__ import annotations

from collections import Counter

from connleak.judging.claims import plural, quoted, were
from connleak.judging.facts import Facts
from connleak.model.outcomes import docs_anchor
from connleak.model.verdict import Check, Finding

SHOWN = 5
"""Lines that a finding lists."""


def lock_held(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding if a session that is idle in its pool has an advisory lock throughout the window."""
    last = facts.last
    if last is None:
        return [], Check("lock-held", "inconclusive", "no cycle reached an idle window")
    locked = set(last.samples[0].locks).intersection(*(sample.locks for sample in last.samples))
    locked &= set(last.present_throughout)
    out = {holder.backend for holder in facts.outstanding}
    left = sorted(pid for pid in locked if not last.in_transaction(pid) and (not facts.probed or pid not in out))
    if not left:
        used = f"; {plural(len(locked), 'session')} with one on purpose or in a transaction" if locked else ""
        return [], Check("lock-held", "clean", f"no returned connection has an advisory lock{used}")
    row = last.present_throughout[left[0]][-1]
    # the recording does not show which checkout took the lock: these are the lines that checked out the sessions
    lines = Counter(event.site for pid in left for event in facts.by_backend.get(pid, ()) if event.site)
    sites = tuple(site for site, _ in lines.most_common(SHOWN))
    claim = (
        f"{plural(len(left), 'connection')} {were(len(left))} returned to the pool with an advisory lock, which the "
        "pool does not release. "
    )
    claim += f"Checked out at {', '.join(map(str, sites))}." if sites else f"Last query: {quoted(row.query)}"
    found = Finding(
        kind="lock-held",
        claim=claim,
        backends=tuple(left),
        sites=sites,
        first_seen=row.state_since,
        docs=docs_anchor("lock-held"),
    )
    return [found], Check("lock-held", "leak", f"{plural(len(left), 'session')} idle with an advisory lock")
