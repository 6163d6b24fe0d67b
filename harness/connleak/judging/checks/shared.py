"""shared: two processes use one session, or two threads or tasks of one process use it at the same time."""

from __future__ import annotations

from collections import Counter

from connleak.judging.checks import NEEDS_PROBE, skipped
from connleak.judging.claims import plural
from connleak.judging.facts import Facts
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import Event, Site, process_name
from connleak.model.verdict import Check, Finding

USES = {"taken": "checkout", "used": "statement", "closed": "close"}
"""Names of what another process did with a session, by `Event.action`."""


def shared(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding for each line that used a session while another process, thread or task had it."""
    if not facts.probed:
        return skipped("shared", NEEDS_PROBE)
    between = across_processes(facts)
    within = [event for event in facts.events("shared") if not event.other]
    findings = by_line(between, "of another process") + by_line(within, "in use")
    if findings:
        uses = plural(len(between) + len(within), "use")
        return findings, Check("shared", "fault", f"{uses} of a session that another process, thread or task had")
    detail = "no two processes used one session"
    if facts.plan.probe == "queries":
        detail += ", and no two threads or tasks; raw driver connections are not observed"
    else:
        detail += ", and no pool gave one to two threads or tasks; statements are observed only with --probe queries"
    return [], Check("shared", "clean", detail)


def across_processes(facts: Facts) -> list[Event]:
    """Return the uses of a session that another process opened and still had, or that two processes used."""
    uses = [event for event in facts.events("shared") if event.other]
    ended = {event.process: event.t for event in facts.events("bye")}
    users: dict[int | None, set[int]] = {}
    for event in uses:
        users.setdefault(event.backend, set()).add(event.process)
    used = {(event.process, event.backend) for event in uses if not is_closing(event)}
    return [
        event
        for event in uses
        if (event.t < ended.get(event.other, float("inf")) or len(users[event.backend]) > 1)
        # SQLAlchemy closes a connection whose protocol broke: only a close without an earlier use is a fault
        and not (is_closing(event) and (event.process, event.backend) in used)
    ]


def is_closing(event: Event) -> bool:
    return event.action == "closed"


def by_line(uses: list[Event], whose: str) -> list[Finding]:
    """Return one finding for each line."""
    by_site: dict[Site | None, list[Event]] = {}
    for event in uses:
        by_site.setdefault(event.site, []).append(event)
    return [finding(site, events, whose) for site, events in sorted(by_site.items(), key=lambda item: -len(item[1]))]


def finding(site: Site | None, events: list[Event], whose: str) -> Finding:
    """Return the finding of one line."""
    backends = tuple(sorted({event.backend for event in events if event.backend is not None}))
    how = Counter(USES.get(event.action) or event.detail for event in events).most_common(1)[0][0]
    openers = Counter(event.other for event in events if event.other)
    users = {event.process for event in events}
    claim = f"A session {whose} was used {plural(len(events), 'time')} at {site or 'no line of the app'} ({how})"
    if backends:
        claim += f": {plural(len(backends), 'session')}"
    if openers:
        opener, _ = openers.most_common(1)[0]
        others = "1 other process" if len(users) == 1 else f"{len(users)} other processes"
        claim += f", opened by process {process_name(opener)}, used by {others}"
    return Finding(
        kind="shared",
        claim=claim,
        backends=backends,
        sites=events[0].stack,
        first_seen=events[0].t,
        docs=docs_anchor("shared"),
    )
