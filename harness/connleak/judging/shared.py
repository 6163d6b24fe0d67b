"""shared: one session used by two processes, or by two threads or tasks of one at once."""

from __future__ import annotations

from collections import Counter

from connleak.judging.facts import Facts, plural
from connleak.model.recording import Event, Site, process_name
from connleak.model.verdict import Check, Finding


def shared(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding for each line that used a session which another process or worker was using."""
    if not facts.probed:
        return [], Check("shared", "clean", "not judged: it takes the probe's side")
    between = across_processes(facts)
    within = [event for event in facts.events("shared") if not event.other]
    findings = grouped(between, "of another process") + grouped(within, "in use")
    queries = (
        "; threads and tasks too"
        if facts.plan.probe == "queries"
        else ", nor taken by two threads or tasks at once; one checkout in two hands shows only with --probe queries"
    )
    if findings:
        return findings, Check("shared", "fault", f"{plural(len(between) + len(within), 'use')} of a session in use")
    limits = "" if facts.plan.probe != "queries" else ", but not what raw driver connections do"
    return [], Check("shared", "clean", f"no session was used by two processes{queries}{limits}")


def across_processes(facts: Facts) -> list[Event]:
    """Returns the uses of another process's session while that lived, or of one that two processes used."""
    told = [event for event in facts.events("shared") if event.other]
    ended = {event.process: event.t for event in facts.events("bye")}
    users: dict[int | None, set[int]] = {}
    for event in told:
        users.setdefault(event.backend, set()).add(event.process)
    took = {(event.process, event.backend) for event in told if not is_closing(event)}
    return [
        event
        for event in told
        if (event.t < ended.get(event.other, float("inf")) or len(users[event.backend]) > 1)
        # closing what it had used follows from an error; closing what it never took is the fault itself
        and not (is_closing(event) and (event.process, event.backend) in took)
    ]


def is_closing(event: Event) -> bool:
    return event.action == "closed"


def grouped(told: list[Event], words: str) -> list[Finding]:
    """Returns one finding a line."""
    by_site: dict[Site | None, list[Event]] = {}
    for event in told:
        by_site.setdefault(event.site, []).append(event)
    findings = []
    for site, events in sorted(by_site.items(), key=lambda item: -len(item[1])):
        backends = tuple(sorted({event.backend for event in events if event.backend is not None}))
        how = Counter(event.action or event.detail for event in events).most_common(1)[0][0]
        openers = Counter(event.other for event in events if event.other)
        users = {event.process for event in events}
        claim = (
            f"{plural(len(events), 'time')} a session {words} was used at {site or 'no line of the app'} "
            f"({how})" + (f": {plural(len(backends), 'session')}" if backends else "")
        )
        if openers:
            opener, _ = openers.most_common(1)[0]
            others = "1 other process" if len(users) == 1 else f"{len(users)} other processes"
            claim += f", opened by process {process_name(opener)}, used by {others}"
        findings.append(
            Finding(
                kind="shared",
                claim=claim,
                backends=backends,
                sites=events[0].stack,
                first_seen=events[0].t,
                docs="docs/findings.md#shared",
            )
        )
    return findings
