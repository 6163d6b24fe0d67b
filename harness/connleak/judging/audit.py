"""The audit: checks that the evidence supports a verdict; an inconclusive one states the change to make."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from connleak.judging.claims import no_probe_in, plural
from connleak.judging.facts import Facts
from connleak.judging.policy import (
    FEWEST_READS,
    FEWEST_WINDOWS,
    FOREIGN_SHARE,
    LANDED,
    SAMPLE_GAP,
    SAMPLE_GAP_PERIODS,
    UNOBSERVED,
)
from connleak.judging.stopping import requests_for
from connleak.model.recording import NoteCode, Process, process_name
from connleak.model.verdict import Check

DISTURBANCES = (
    NoteCode.INTERRUPTED,
    NoteCode.PROCESS_ENDED,
    NoteCode.SERVER_UNREACHABLE,
    NoteCode.CLOCK_JUMP,
)
"""Notes on conditions that keep a run from being observed as planned."""
QUOTED = 80
"""Characters of an error that a check quotes."""
NAMES = 5
"""Names that a check lists."""


def load_landed(facts: Facts) -> Check:
    """Check that the requests reached the app, and that most of them succeeded."""
    if facts.job_only:
        return Check("load", "clean", "the app runs without requests")
    requests = facts.recording.requests
    aborted = f"requests were aborted at the end of cycle {facts.aborted_in_cycle}, because they took too long"
    if not requests:
        detail = aborted if facts.aborted_in_cycle else "no request was sent; see locust.log"
        return Check("load", "inconclusive", detail)
    unsent = sum(request.unsent for request in requests)
    failed = sum(not request.ok for request in requests)
    if unsent > LANDED * len(requests):
        detail = f"{unsent} of {len(requests)} requests did not reach the app; check --url"
        return Check("load", "inconclusive", detail)
    timeouts = len(facts.events("timeout"))  # a pool timeout is a finding, not a load that failed
    if failed - timeouts > LANDED * len(requests):
        errors = sorted({request.error for request in requests if not request.ok})
        detail = (
            f"{failed} of {len(requests)} requests failed ({errors[0][:QUOTED]}), so the app's usual work was not "
            "exercised; see app.log"
        )
        return Check("load", "inconclusive", detail)
    if facts.aborted_in_cycle:
        return Check("load", "inconclusive", aborted)
    return Check("load", "clean", f"{plural(len(requests), 'request')}, {failed} failed")


def sensitive_enough(facts: Facts) -> Check:
    """Check that enough requests reached the app for the requested sensitivity."""
    sensitivity = facts.plan.sensitivity
    if not sensitivity:
        return Check("sensitivity", "clean", "none requested")
    needed = requests_for(sensitivity)
    if facts.total_exposure >= needed:
        return Check("sensitivity", "clean", f"{facts.total_exposure} requests reached the app, {needed} were needed")
    detail = (
        f"{facts.total_exposure} requests reached the app, but a sensitivity of 1/{1 / sensitivity:.0f} needs "
        f"{needed}: use a longer --limit, or more --users"
    )
    return Check("sensitivity", "inconclusive", detail)


def became_idle(facts: Facts) -> Check:
    """Check that the run ended as planned, with an idle app."""
    if facts.watched:
        return watched_long_enough(facts)
    names = [phase.name for phase in facts.recording.phases]
    final = [phase for phase in facts.recording.phases if phase.name == "quiet"]
    if not final or final[-1].end is None or not facts.windows:
        detail = f"the run ended early, in phase {names[-1] if names else 'none'}: run it again"
        return Check("rest", "inconclusive", detail)
    reads = len(facts.windows[-1].samples)
    if reads < FEWEST_READS:
        detail = f"the final idle window has {plural(reads, 'read')}, but needs {FEWEST_READS}: make it longer"
        return Check("rest", "inconclusive", detail)
    busy = [window for window in facts.windows if not window.settled]
    if busy:
        out = int(busy[-1].facts.get("out", 0))
        detail = f"{plural(out, 'checkout')} still changing after the drain: use a longer --drain"
        return Check("rest", "inconclusive", detail)
    return Check("rest", "clean", f"idle after each of {plural(len(facts.windows), 'cycle')}")


def watched_long_enough(facts: Facts) -> Check:
    """Check that there are enough whole windows to show lasting sessions and their growth."""
    count, window = len(facts.windows), facts.plan.window
    if count < FEWEST_WINDOWS:
        detail = f"{plural(count, 'whole window')} of {window:g} s, but growth needs {FEWEST_WINDOWS}: watch for longer"
        return Check("rest", "inconclusive", detail)
    return Check("rest", "clean", f"{count} windows of {window:g} s")


def sampler_kept_up(facts: Facts) -> Check:
    """Check that the server was read without gaps."""
    samples = facts.recording.samples
    if len(samples) < 2:
        return Check("sampler", "inconclusive", "the server was read less than twice")
    every = facts.plan.sample_every
    times = [sample.t for sample in samples]
    times += [max(times[-1], ended_at(facts))]  # a sampler that stops early misses what follows
    intended = [facts.interval(sample) for sample in (*samples[1:], samples[-1])]
    gaps = [(b - a - interval, b - a, a) for (a, b), interval in zip(pairwise(times), intended, strict=True)]
    beyond, worst, at = max(gaps)
    if beyond > max(SAMPLE_GAP, SAMPLE_GAP_PERIODS * every) - every:
        return Check("sampler", "inconclusive", f"the server was not read for {worst:.1f} s from {at:.1f} s on")
    right = "PROCESS ON *.*" if facts.kind == "mysql" else "pg_monitor"
    if any(row.state is None and row.usename for sample in samples[-5:] for row in sample.backends):
        detail = f"the state of some sessions is hidden from this role: GRANT {right} TO it"
        return Check("sampler", "inconclusive", detail)
    return Check("sampler", "clean", f"{plural(len(samples), 'sample')}, the longest gap {worst:.2f} s")


def ended_at(facts: Facts) -> float:
    """Return the end of the last phase, or its start if the recording ends in it."""
    phases = facts.recording.phases
    return (phases[-1].begin if phases[-1].end is None else phases[-1].end) if phases else 0.0


def observers_ran(facts: Facts) -> Check:
    """Check that every observing thread of connleak ran until the end."""
    for note in facts.recording.notes:
        if note.code == NoteCode.OBSERVER_STOPPED:
            return Check("threads", "inconclusive", f"{note.text}: what followed was not observed")
    return Check("threads", "clean", "every observer ran until the end")


def other_clients(facts: Facts) -> Check:
    """Check that no session of another client can be mistaken for one of the app."""
    others: dict[str, int] = {}
    for note in facts.recording.notes:
        others |= note.facts.others
    if facts.server.get("own_database") or not others:
        return Check("others", "clean", "no sessions of other clients")
    detail = f"sessions of other clients, not counted: {', '.join(sorted(others)[:NAMES])}"
    if facts.probed:
        return Check("others", "clean", detail)
    detail += "; without a probe one of them may be the app's: use a separate server or database"
    return Check("others", "inconclusive", detail)


def probe_attached(facts: Facts) -> Check:
    """Check that a probe answered in every process that has a session."""
    if facts.plan.probe == "off":
        return Check("probe", "clean", "switched off: the verdict rests on the server's side alone")
    last = facts.last
    for snapshot in last.snapshots if last else ():
        for process in snapshot.processes:
            if detail := probe_problem(facts, process):
                return Check("probe", "inconclusive", detail)
    if not facts.probed and last is not None and any(window.level for window in facts.windows):
        return Check("probe", "inconclusive", "no probe reported a connection, but the server has sessions")
    return Check("probe", "clean", "attached in every process that has a session")


def probe_problem(facts: Facts, process: Process) -> str:
    """Return why a process was not fully observed; empty if it was."""
    name = process_name(process.process)
    if process.ports and not process.probe:
        lost = process.process in facts.disconnected
        why = "the probe disconnected" if lost else "is Python started with -I or -E?"
        sessions = plural(len(process.ports), "session")
        return f"{no_probe_in(process)}, which has {sessions}: {why}"
    if process.probe and not process.answered:
        return f"the probe in pid {name} did not answer"
    return f"the probe in pid {name} dropped {plural(process.dropped, 'event')}" if process.dropped else ""


def same_server(facts: Facts) -> Check:
    """Check that the app's sessions are on the observed server."""
    here = {row.pid for sample in facts.recording.samples for row in sample.backends}
    opened = {event.backend for event in facts.events("connect") if event.backend is not None}
    if not here and not short_sessions(facts):
        others = f", but {len(opened)} on another" if opened else ""
        detail = f"the app opened no session on this server{others}: make it use the address in DATABASE_URL"
        return Check("server", "inconclusive", detail)
    closed_by_others = {event.backend for event in facts.events("shared")}  # the opener's pool still refers to it
    missing = facts.known_to_app - here - closed_by_others if facts.probed else set()
    counted = len(missing) <= short_sessions(facts) - len(here)  # the server counts sessions that no read shows
    if missing and facts.server.get("ours") and (counted or len(missing) < FOREIGN_SHARE * len(facts.known_to_app)):
        detail = f"the app's pools refer to {plural(len(missing), 'session')} that ended between two server reads"
        return Check("server", "clean", detail)
    if missing:
        detail = f"the server never had {plural(len(missing), 'session')} of the app: it uses another server, too"
        return Check("server", "inconclusive", detail)
    return Check("server", "clean", "the app's sessions are on the observed server")


def short_sessions(facts: Facts) -> float:
    """Return how many sessions the server counted in a database of the run, including those too short for a read."""
    if not facts.server.get("own_database"):
        return 0.0
    counted = [sample.counters["sessions"] for sample in facts.recording.samples if "sessions" in sample.counters]
    return counted[-1] - counted[0] if counted else 0.0


def app_ran(facts: Facts) -> Check:
    """Check that the app, its processes and the server ran until the end."""
    for note in facts.recording.notes:
        if note.code in DISTURBANCES:
            return Check("app", "inconclusive", next(iter(note.text.splitlines()), note.code.value))
    if not facts.ended:
        return Check("app", "clean", "its processes ran until the end")
    count = "1 process" if len(facts.ended) == 1 else f"{len(facts.ended)} processes"
    detail = f"{count} of the app ended during the run; {facts.unobserved_fraction:.0%} of all checkouts are unobserved"
    if facts.unobserved_fraction > UNOBSERVED:
        return Check("app", "inconclusive", f"{detail}: keep its workers running, or record more cycles")
    return Check("app", "clean", detail)


def ceiling(facts: Facts) -> Check:
    """Check that the server was not full, because growth is invisible on a full server."""
    available, peak = facts.available_connections, facts.peak
    if facts.windows and facts.windows[-1].level >= available:
        level = facts.windows[-1].level
        detail = f"the server is full without load ({level} of {available} connections): raise --max-connections"
        return Check("ceiling", "inconclusive", detail)
    if not facts.probed and peak >= available:
        detail = f"the server was full ({peak} of {available} connections): raise --max-connections"
        return Check("ceiling", "inconclusive", detail)
    return Check("ceiling", "clean", f"at most {peak} of {available} connections")


AUDIT = (
    load_landed,
    sensitive_enough,
    became_idle,
    sampler_kept_up,
    observers_ran,
    other_clients,
    probe_attached,
    same_server,
    app_ran,
    ceiling,
)
"""The checks in the order in which a reader needs them."""


def audit(facts: Facts) -> Iterator[Check]:
    """Yield the results of the audit in the order of AUDIT."""
    return (check(facts) for check in AUDIT)
