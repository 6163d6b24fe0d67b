"""churn: the app opens a new connection for every second request or more."""

from __future__ import annotations

from collections import Counter

from connleak.judging.checks import NEEDS_PROBE, skipped
from connleak.judging.claims import format_number
from connleak.judging.facts import Facts
from connleak.judging.policy import CHURN, FEWEST_CHURN_CYCLES, OVERFLOW_CHURN
from connleak.model.outcomes import docs_anchor
from connleak.model.verdict import Check, Finding


def churn(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding if, after the first cycle, connections are opened for requests in place of being reused."""
    if not facts.probed:
        return skipped("churn", NEEDS_PROBE)
    if facts.job_only:
        return skipped("churn", "needs requests")
    if len(facts.windows) < FEWEST_CHURN_CYCLES:
        return skipped("churn", "needs two cycles")
    begin, end = facts.after_first_cycle(), facts.windows[-1].begin
    opened = [event for event in facts.events("connect") if begin < event.t <= end]
    within = [event for event in opened if not event.overflow]
    requests = sum(facts.exposures[1:])
    if not requests:
        return [], Check("churn", "clean", "no requests after the first cycle")
    per_1000, overflow = 1000 * len(within) / requests, 1000 * (len(opened) - len(within)) / requests
    detail = f"{format_number(per_1000)} connections opened per 1000 requests after the first cycle"
    if overflow >= OVERFLOW_CHURN:
        detail += f", and {format_number(overflow)} beyond pool_size (overflow churn: a larger pool_size keeps them)"
    if per_1000 < CHURN:
        return [], Check("churn", "clean", detail)
    stacks = Counter(event.stack for event in within if event.stack).most_common(1)
    site = stacks[0][0][:1] if stacks else ()
    claim = (
        f"{format_number(per_1000)} connections opened per 1000 requests after the first cycle ({len(within)} for "
        f"{requests} requests){f', most of them at {site[0]}' if site else ''}. Every request pays for a new session."
    )
    found = Finding(kind="churn", claim=claim, sites=site, first_seen=within[0].t, docs=docs_anchor("churn"))
    return [found], Check("churn", "strained", detail)
