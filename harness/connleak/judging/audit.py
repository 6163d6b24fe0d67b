"""Whether the evidence can carry a verdict: each question ends clean, or inconclusive with what to change."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from connleak.judging.facts import Facts, is_unsent, plural
from connleak.judging.rates import requests_for
from connleak.model.recording import process_name
from connleak.model.verdict import Check

GAP = 1.0
LANDED = 0.5
LOST = 0.5
"""Of all checkouts, those of processes that ended before they could be asked; above this, clean would say nothing."""


def load_landed(facts: Facts) -> Check:
    """Did the requests reach the app, and were there enough to say anything?"""
    if facts.job_only:
        return Check("load", "clean", "the app works by itself: no requests were sent")
    requests = facts.recording.requests
    cut = f"requests were cut at the end of cycle {facts.cut}: they took too long"
    if not requests:
        return Check("load", "inconclusive", cut if facts.cut else "no request was sent; look into locust.log")
    unsent = sum(is_unsent(request.error) for request in requests)
    failed = sum(not request.ok for request in requests)
    if unsent > LANDED * len(requests):
        return Check(
            "load", "inconclusive", f"{unsent} of {len(requests)} requests did not reach the app: is --url right?"
        )
    gave_up = len(facts.events("timeout"))  # the pool refused them: that is a finding, not a load that went astray
    if failed - gave_up > LANDED * len(requests):
        errors = sorted({request.error for request in requests if not request.ok})
        return Check(
            "load",
            "inconclusive",
            f"{failed} of {len(requests)} requests failed ({errors[0][:80]}); "
            "the app's usual work was not exercised: look into app.log",
        )
    if facts.cut:
        return Check("load", "inconclusive", cut)
    return Check("load", "clean", f"{plural(len(requests), 'request')}, {failed} failed")


def came_to_rest(facts: Facts) -> Check:
    """Did the run end as planned, with the app at rest?"""
    if facts.watched:
        return watched_long_enough(facts)
    names = [phase.name for phase in facts.recording.phases]
    quiet = [phase for phase in facts.recording.phases if phase.name == "quiet"]
    if not quiet or quiet[-1].end is None or not facts.rests:
        return Check(
            "rest", "inconclusive", f"the run broke off in phase {names[-1] if names else 'none'}: run it again"
        )
    if len(facts.rests[-1].samples) < 5:
        count = len(facts.rests[-1].samples)
        return Check("rest", "inconclusive", f"the quiet window has {count} reads of the 5 it takes: let it be longer")
    restless = [rest for rest in facts.rests if not rest.settled]
    if restless:
        still = restless[-1].facts.get("out", 0)
        return Check(
            "rest",
            "inconclusive",
            f"{plural(int(still), 'checkout')} still coming and going after the drain: use a longer --drain",
        )
    return Check("rest", "clean", f"{plural(len(facts.rests), 'cycle')} came to rest")


def watched_long_enough(facts: Facts) -> Check:
    """Were there whole windows enough to see what stays, and whether it grows?"""
    count, window = len(facts.rests), facts.plan.window
    if count < 3:
        why = f"watched for {plural(count, 'whole window')} of {window:g} s: growth takes three, so watch on"
        return Check("rest", "inconclusive", why)
    return Check("rest", "clean", f"{count} windows of {window:g} s")


def sampler_kept_up(facts: Facts) -> Check:
    """Was the server read all the time?"""
    samples = facts.recording.samples
    if len(samples) < 2:
        return Check("sampler", "inconclusive", "the server was read less than twice")
    every = facts.plan.sample_every
    times = [sample.t for sample in samples]
    times += [max(times[-1], ended_at(facts))]  # one that stops early sees nothing of what follows
    intended = [facts.interval(sample) for sample in (*samples[1:], samples[-1])]
    gaps = [(b - a - interval, b - a, a) for (a, b), interval in zip(pairwise(times), intended, strict=True)]
    beyond, worst, at = max(gaps)
    if beyond > max(GAP, 5 * every) - every:
        return Check("sampler", "inconclusive", f"the server was not read for {worst:.1f} s from {at:.1f} s on")
    right = "PROCESS ON *.*" if facts.kind == "mysql" else "pg_monitor"
    if any(row.state is None and row.usename for sample in samples[-5:] for row in sample.backends):
        return Check(
            "sampler", "inconclusive", f"the states of some sessions are hidden from this role: GRANT {right} TO it"
        )
    return Check("sampler", "clean", f"{plural(len(samples), 'sample')}, the longest pause {worst:.2f} s")


def ended_at(facts: Facts) -> float:
    """Returns the moment at which the last phase ended, or began where the recording broke off in it."""
    phases = facts.recording.phases
    return (phases[-1].begin if phases[-1].end is None else phases[-1].end) if phases else 0.0


def observers_lived(facts: Facts) -> Check:
    """Did every thread of connleak's that observes go on until the end?"""
    for note in facts.recording.notes:
        if "stopped" in note.facts:
            return Check("threads", "inconclusive", f"{note.text}: what happened after that was not observed")
    return Check("threads", "clean", "everything that observes went on until the end")


def probe_attached(facts: Facts) -> Check:
    """Did a probe answer in every process that has a session?"""
    if facts.plan.probe == "off":
        return Check("probe", "clean", "switched off: the verdict is from the server's side alone")
    last = facts.last
    for snapshot in last.snapshots if last else ():
        for process in snapshot.processes:
            if process.ports and not process.probe:
                return Check(
                    "probe",
                    "inconclusive",
                    f"probe absent in pid {process_name(process.process)} ({process.command[:60]}), which has "
                    f"{plural(len(process.ports), 'session')}: "
                    + (
                        "its line was closed"
                        if process.process in facts.silent
                        else "is it Python started with -I or -E?"
                    ),
                )
            if process.probe and not process.answered:
                return Check(
                    "probe", "inconclusive", f"the probe in pid {process_name(process.process)} did not answer"
                )
            if process.dropped:
                return Check(
                    "probe",
                    "inconclusive",
                    f"the probe in pid {process_name(process.process)} dropped {plural(process.dropped, 'event')}",
                )
    if not facts.probed and last is not None and any(rest.level for rest in facts.rests):
        return Check("probe", "inconclusive", "no probe told of a connection, but the server has sessions")
    return Check("probe", "clean", "attached in every process that has a session")


def same_server(facts: Facts) -> Check:
    """Are the app's sessions on the server that was watched?"""
    here = {row.pid for sample in facts.recording.samples for row in sample.backends}
    opened = {event.backend for event in facts.events("connect") if event.backend is not None}
    if not here and not short_sessions(facts):
        elsewhere = f", but {len(opened)} elsewhere" if opened else ""
        why = f"the app opened no session on this server{elsewhere}: tell it the address that is in DATABASE_URL"
        return Check("server", "inconclusive", why)
    ended_by_another = {event.backend for event in facts.events("shared")}  # its opener still thinks that it is there
    strangers = facts.known - here - ended_by_another if facts.probed else set()
    counted = len(strangers) <= short_sessions(facts) - len(here)  # by the server, and too short to be seen there
    if strangers and facts.server.get("ours") and (counted or 2 * len(strangers) < len(facts.known)):
        why = f"the app's pools have {plural(len(strangers), 'session')} that ended between two reads of the server"
        return Check("server", "clean", why)
    if strangers:
        return Check(
            "server",
            "inconclusive",
            f"{plural(len(strangers), 'session')} of the app that the server never showed: it uses another one, too",
        )
    return Check("server", "clean", "the app's sessions are on the server that was watched")


def short_sessions(facts: Facts) -> float:
    """Returns how many sessions the server counted in a database of the run's own, seen or too short to be seen."""
    if not facts.server.get("own_database"):
        return 0.0
    counted = [sample.counters["sessions"] for sample in facts.recording.samples if "sessions" in sample.counters]
    return counted[-1] - counted[0] if counted else 0.0


def app_lived(facts: Facts) -> Check:
    """Did the app and the server live through the run, with their processes?"""
    for note in facts.recording.notes:
        if "canary" in note.facts:
            continue  # in its words is a name of the app's
        if note.about == "run" and ("ended" in note.text or "interrupted" in note.text):
            return Check("app", "inconclusive", note.text.splitlines()[0])
        if note.about == "database" and ("did not answer" in note.text or "clock" in note.facts):
            return Check("app", "inconclusive", note.text)
    if not facts.ended:
        return Check("app", "clean", "its processes lived through the run")
    told = "1 process" if len(facts.ended) == 1 else f"{len(facts.ended)} processes"
    told += f" of the app ended during the run, unasked about {facts.unasked:.0%} of all checkouts"
    if facts.unasked > LOST:
        return Check("app", "inconclusive", f"{told}: keep its workers alive, or watch more cycles")
    return Check("app", "clean", told)


def ceiling(facts: Facts) -> Check:
    """Could more sessions have been seen, had there been more? A full server or pool hides growth."""
    most = max((len(sample.backends) for sample in facts.recording.samples), default=0)
    if facts.rests and facts.rests[-1].level >= facts.room:
        return Check(
            "ceiling",
            "inconclusive",
            f"the server is full at rest ({facts.rests[-1].level} of {facts.room}): raise --max-connections",
        )
    if not facts.probed and most >= facts.room:
        return Check(
            "ceiling", "inconclusive", f"the server was full ({most} of {facts.room}): raise --max-connections"
        )
    return Check("ceiling", "clean", f"at most {most} of {facts.room} connections")


def nobody_else(facts: Facts) -> Check:
    """Were there other clients on the server, whose sessions could not be told from the app's?"""
    others: dict[str, int] = {}
    for note in facts.recording.notes:
        others |= note.facts.get("others", {})
    if facts.server.get("own_database") or not others:
        return Check("others", "clean", "no session of anybody else was counted")
    names = ", ".join(sorted(others)[:5])
    blind = not facts.probed
    why = f"sessions of others on the server, not counted: {names}"
    if blind:
        why += "; without a probe one of them could be the app's: use a server or a database of its own"
    return Check("others", "inconclusive" if blind else "clean", why)


def sensitive_enough(facts: Facts) -> Check:
    """Did as many requests reach the app as the asked sensitivity takes?"""
    asked = facts.plan.sensitivity
    if not asked:
        return Check("sensitivity", "clean", "none was asked for")
    needed = requests_for(asked)
    if facts.total >= needed:
        return Check("sensitivity", "clean", f"{facts.total} requests reached the app, {needed} were needed")
    return Check(
        "sensitivity",
        "inconclusive",
        f"{facts.total} of the {needed} requests reached the app that 1/{1 / asked:.0f} takes: "
        "use a longer --limit, or more --users",
    )


def audit(facts: Facts) -> Iterator[Check]:
    """Yields the audit's checks in the order in which a reader wants them."""
    for question in (
        load_landed,
        sensitive_enough,
        came_to_rest,
        sampler_kept_up,
        observers_lived,
        nobody_else,
        probe_attached,
        same_server,
        app_lived,
        ceiling,
    ):
        yield question(facts)
