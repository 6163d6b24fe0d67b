"""orphaned: idle sessions that no pool and no holder in the app refers to."""

from __future__ import annotations

from collections import Counter

from connleak.judging.checks import NEEDS_PROBE, skipped
from connleak.judging.claims import no_probe_in, plural, quoted
from connleak.judging.facts import Facts
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import HANDLES, HOST, Backend, Event, Site, process_name
from connleak.model.verdict import Check, Finding


def orphaned(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding for each line whose idle sessions no holder and no pool of the app refers to."""
    last = facts.last
    if not facts.probed:
        return skipped("orphaned", NEEDS_PROBE)
    if last is None or not last.snapshots:
        return [], Check("orphaned", "inconclusive", "no cycle reached an idle window")
    present = last.present_throughout
    unknown = [pid for pid in present if pid not in facts.known_to_app and not is_foreign(facts, present[pid][-1])]
    processes = {process.process: process for snapshot in last.snapshots for process in snapshot.processes}
    obstacle = blind_spot(facts, unknown)
    if obstacle:
        return [], Check("orphaned", "inconclusive", obstacle)
    if any(process.dropped for process in processes.values()):
        return [], Check("orphaned", "inconclusive", "the probe dropped events, so it may have missed connections")
    opening = [pid for pid in unknown if facts.aborted_in_cycle and not last_stack(facts, pid)]
    unknown = [pid for pid in unknown if pid not in opening]
    if opening and not unknown:
        detail = f"an aborted request may still be opening {plural(len(opening), 'session')}"
        return [], Check("orphaned", "inconclusive", detail)
    if not unknown:
        return [], Check("orphaned", "clean", f"the app refers to every one of {plural(last.level, 'idle session')}")
    owners = {port: process.process for process in processes.values() for port in process.ports}
    by_stack: dict[tuple[Site, ...], list[Backend]] = {}
    for pid in unknown:
        by_stack.setdefault(last_stack(facts, pid), []).append(present[pid][-1])
    groups = sorted(by_stack.items(), key=lambda item: -len(item[1]))
    if facts.kind == "sqlite":  # the number of a handle contains its process
        owners = {row.pid: row.pid // HANDLES for rows in by_stack.values() for row in rows}
    findings = [finding(stack, rows, owners) for stack, rows in groups]
    return findings, Check("orphaned", "leak", f"{plural(len(unknown), 'session')} without a reference in the app")


def is_foreign(facts: Facts, row: Backend) -> bool:
    """Return whether a session may belong to another client, on a server or database that the app shares."""
    if facts.plan.kind in ("target", "app") or facts.server.get("own_database"):
        return False
    snapshot = facts.last.snapshot if facts.last else None
    probed = {port for process in (snapshot.processes if snapshot else ()) if process.probe for port in process.ports}
    return not last_stack(facts, row.pid) and row.client_port not in probed


def last_stack(facts: Facts, pid: int) -> tuple[Site, ...]:
    """Return the stack of a session's last checkout, else of its opening; empty if the probe saw neither."""
    seen = last_event(facts, pid)
    return seen.stack if seen else ()


def last_event(facts: Facts, pid: int) -> Event | None:
    """Return the last checkout or checkin of a session, else its opening."""
    seen = facts.by_backend.get(pid) or [event for event in facts.events("connect") if event.backend == pid]
    return seen[-1] if seen else None


def finding(stack: tuple[Site, ...], rows: list[Backend], owners: dict[int, int]) -> Finding:
    """Return the finding for the orphaned sessions that one line used last."""
    oldest = min(row.started for row in rows)
    ends = "sockets" if rows[0].client_port else "handles"
    having = Counter(owners[end] for row in rows if (end := row.client_port or row.pid) in owners)
    by = ", ".join(f"process {process_name(pid)} has {count} of their {ends}" for pid, count in having.most_common(3))
    where = f"Last checked out at {stack[0]}" if stack else "The probe did not see them open"
    claim = (
        f"{plural(len(rows), 'idle session')} without a reference in any pool or holder of the app. {where}, the "
        f"oldest opened at {oldest:.1f} s; {by or f'no running process of the app has their {ends}'}. "
        f"Last query: {quoted(rows[0].query)}"
    )
    return Finding(
        kind="orphaned",
        claim=claim,
        backends=tuple(row.pid for row in rows),
        sites=stack,
        first_seen=oldest,
        docs=docs_anchor("orphaned"),
    )


def blind_spot(facts: Facts, unknown: list[int]) -> str:
    """Return why unknown sessions are no evidence: a process without a probe or an unwatched driver may have them."""
    if not unknown or facts.last is None:
        return ""
    ports = {facts.last.present_throughout[pid][-1].client_port for pid in unknown}
    for snapshot in facts.last.snapshots:
        for process in snapshot.processes:
            if not process.probe and ports & set(process.ports):
                return no_probe_in(process)
            if not process.answered:
                return f"the probe in pid {process_name(process.process)} did not answer"
            if process.unwatched and ports & set(process.ports):
                names = ", ".join(process.unwatched)
                return (
                    f"pid {process_name(process.process)} has sessions that the probe did not see open; it uses {names}"
                )
    for event in filter(None, (last_event(facts, pid) for pid in unknown)):
        # of a process on this machine, the sockets show whether it is running
        if event.process >= HOST and event.process in facts.disconnected:
            return f"the probe of process {process_name(event.process)} disconnected, but its session is still open"
    return ""
