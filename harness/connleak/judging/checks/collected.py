"""collected: checkouts that only the cyclic garbage collector returned."""

from __future__ import annotations

from connleak.judging.checks import NEEDS_PROBE, skipped
from connleak.judging.checks.shared import across_processes
from connleak.judging.claims import format_rate, plural, were
from connleak.judging.facts import Facts, per_site, unit
from connleak.judging.rates import rate
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import Event, Site
from connleak.model.verdict import Check, Finding


def collected(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding for each line with checkouts that only the cyclic garbage collector returned."""
    if not facts.probed:
        return skipped("collected", NEEDS_PROBE)
    events = [event for event in facts.events("checkin") if event.gc]
    detail = f"the garbage collector returned {plural(len(events), 'connection')}"
    if events and across_processes(facts):  # sharing breaks a connection, and its regular return then raises
        return [], Check("collected", "clean", f"{detail}, broken because processes shared it")
    by_site: dict[Site | None, list[Event]] = {}
    for event in events:
        by_site.setdefault(event.site, []).append(event)
    waiting = {site: len(holders) for site, holders in per_site(facts.outstanding)}
    groups = sorted(by_site.items(), key=lambda item: -len(item[1]))
    findings = [finding(facts, site, returns, waiting.get(site, 0)) for site, returns in groups]
    return findings, Check("collected", "leak" if findings else "clean", detail)


def finding(facts: Facts, site: Site | None, returns: list[Event], waiting: int) -> Finding:
    """Return the finding of one line."""
    of = max(1, sum(event.site == site for event in facts.events("checkout")))
    more = "more than " if facts.thinned_from < float("inf") else ""
    per, scale = unit(facts)
    found = rate(len(returns), max(1, facts.total_exposure), per, scale)
    claim = (
        f"{plural(len(returns), 'connection')} of {more}{of} checked out at {site or 'an unknown line'} "
        f"{were(len(returns))} returned only by the garbage collector, {format_rate(found)}. "
        "The app did not return them."
    )
    if waiting:
        claim += f" {waiting} more {were(waiting)} still waiting for the collector in the final idle window."
    return Finding(
        kind="collected",
        claim=claim,
        rate=found,
        backends=tuple(sorted({e.backend for e in returns if e.backend is not None})),
        sites=returns[0].stack,
        first_seen=returns[0].t,
        docs=docs_anchor("collected"),
    )
