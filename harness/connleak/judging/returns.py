"""orphaned: sessions that nothing in the app knows. collected: connections that only the garbage collector returned."""

from __future__ import annotations

from collections import Counter

from connleak.judging.facts import Facts, per_site, plural, unit
from connleak.judging.rates import rate, spoken
from connleak.judging.shared import across_processes
from connleak.model.recording import HANDLES, HOST, Backend, Event, Site, process_name
from connleak.model.verdict import Check, Finding


def orphaned(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding when the server has sessions at rest that no holder and no pool of the app knows."""
    last = facts.last
    if not facts.probed:
        return [], Check("orphaned", "clean", "not judged: it takes the probe's side")
    if last is None or not last.snapshots:
        return [], Check("orphaned", "inconclusive", "no cycle came to rest")
    unknown = [pid for pid in last.stayed if pid not in facts.known and not is_strangers(facts, last.stayed[pid][-1])]
    processes = {process.process: process for snapshot in last.snapshots for process in snapshot.processes}
    blind = unwatched(facts, unknown)
    if blind:
        return [], Check("orphaned", "inconclusive", blind)
    if any(process.dropped for process in processes.values()):
        return [], Check("orphaned", "inconclusive", "the probe dropped events, so it may have missed connections")
    opening = [pid for pid in unknown if facts.cut and not last_line(facts, pid)]
    unknown = [pid for pid in unknown if pid not in opening]
    if opening and not unknown:
        why = f"{plural(len(opening), 'session')} that a request which was cut may still be opening"
        return [], Check("orphaned", "inconclusive", why)
    if not unknown:
        return [], Check("orphaned", "clean", f"all {plural(last.level, 'session')} at rest are known to the app")
    ports = {port: process.process for process in processes.values() for port in process.ports}
    by_site: dict[tuple[Site, ...], list[Backend]] = {}
    for pid in unknown:
        by_site.setdefault(last_line(facts, pid), []).append(last.stayed[pid][-1])
    groups = sorted(by_site.items(), key=lambda item: -len(item[1]))
    if facts.kind == "sqlite":  # a handle is its process's by its number
        ports = {row.pid: row.pid // HANDLES for rows in by_site.values() for row in rows}
    findings = [nobodys(stack, rows, ports) for stack, rows in groups]
    return findings, Check("orphaned", "leak", f"{plural(len(unknown), 'session')} unknown to the app")


def is_strangers(facts: Facts, row: Backend) -> bool:
    """Tells whether a session may be of somebody whom no probe watches, where the server is not the app's alone."""
    if facts.plan.kind in ("target", "app") or facts.server.get("own_database"):
        return False
    snapshot = facts.last.snapshot if facts.last else None
    probed = {port for process in (snapshot.processes if snapshot else ()) if process.probe for port in process.ports}
    return not last_line(facts, row.pid) and row.client_port not in probed


def last_line(facts: Facts, pid: int) -> tuple[Site, ...]:
    """Returns the stack of a session's last checkout, else of its opening; none when the probe saw neither."""
    seen = last_told(facts, pid)
    return seen.stack if seen else ()


def last_told(facts: Facts, pid: int) -> Event | None:
    """Returns what the app told last of a session."""
    seen = facts.by_backend.get(pid) or [event for event in facts.events("connect") if event.backend == pid]
    return seen[-1] if seen else None


def nobodys(stack: tuple[Site, ...], rows: list[Backend], ports: dict[int, int]) -> Finding:
    """Returns the finding for the unknown sessions that one line had last."""
    oldest = min(row.started for row in rows)
    ends = "sockets" if rows[0].client_port else "handles"
    owners = Counter(ports[end] for row in rows if (end := row.client_port or row.pid) in ports)
    by = ", ".join(f"process {process_name(pid)} has {count} of their {ends}" for pid, count in owners.most_common(3))
    where = f"last taken at {stack[0]}" if stack else "which the probe never saw open"
    claim = (
        f"{plural(len(rows), 'session')} at rest that no pool and no holder of the app knows, {where}; the oldest was "
        f"opened at {oldest:.1f} s; {by or f'no living process of the app has their {ends}'}; "
        f"last query: {rows[0].query[:80] or '(none)'}"
    )
    return Finding(
        kind="orphaned",
        claim=claim,
        backends=tuple(row.pid for row in rows),
        sites=stack,
        first_seen=oldest,
        docs="docs/findings.md#orphaned",
    )


def unwatched(facts: Facts, unknown: list[int]) -> str:
    """Returns why unknown sessions prove nothing: a process without probe has them, or a driver is not watched."""
    if not unknown or facts.last is None:
        return ""
    ports = {facts.last.stayed[pid][-1].client_port for pid in unknown}
    for snapshot in facts.last.snapshots:
        for process in snapshot.processes:
            if not process.probe and ports & set(process.ports):
                return f"probe absent in pid {process_name(process.process)} ({process.command[:60]})"
            if not process.answered:
                return f"the probe in pid {process_name(process.process)} did not answer"
            if process.unwatched and ports & set(process.ports):
                names = ", ".join(process.unwatched)
                return (
                    f"pid {process_name(process.process)} has sessions that the probe did not see open; it uses {names}"
                )
    for told in filter(None, (last_told(facts, pid) for pid in unknown)):
        if told.process >= HOST and told.process in facts.silent:  # here its sockets would tell whether it lives
            return f"process {process_name(told.process)} tells nothing any more, but its session is still there"
    return ""


def collected(facts: Facts) -> tuple[list[Finding], Check]:
    """Returns a finding for each line whose connections came back only through the cyclic garbage collector."""
    if not facts.probed:
        return [], Check("collected", "clean", "not judged: it takes the probe's side")
    events = [event for event in facts.events("checkin") if event.gc]
    if events and across_processes(facts):  # what two processes speak on breaks, and then raises where it is given back
        why = f"{plural(len(events), 'connection')} came back through the garbage collector, broken by being shared"
        return [], Check("collected", "clean", why)
    by_site: dict[Site | None, list[Event]] = {}
    for event in events:
        by_site.setdefault(event.site, []).append(event)
    still = {site: len(holders) for site, holders in per_site(facts.persistent)}
    findings = []
    for site, returns in sorted(by_site.items(), key=lambda item: -len(item[1])):
        of = max(1, sum(event.site == site for event in facts.events("checkout")))
        more = "more than " if facts.thinned < float("inf") else ""
        per, scale = unit(facts)
        found = rate(len(returns), max(1, facts.total), per, scale)
        claim = (
            f"{plural(len(returns), 'connection')} of {more}{of} taken at {site or 'an unknown line'} came back only "
            f"through the garbage collector, {spoken(found)}: nothing in the app gave them back"
        )
        if still.get(site):
            claim += f"; {still[site]} more were still waiting for it at rest"
        findings.append(
            Finding(
                kind="collected",
                claim=claim,
                rate=found,
                backends=tuple(sorted({e.backend for e in returns if e.backend is not None})),
                sites=returns[0].stack,
                first_seen=returns[0].t,
                docs="docs/findings.md#collected",
            )
        )
    why = f"{plural(len(events), 'connection')} came back through the garbage collector"
    return findings, Check("collected", "leak" if findings else "clean", why)
