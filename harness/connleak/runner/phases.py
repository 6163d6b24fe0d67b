"""The phases of a session with a load: baseline, (load, drain, rest) per cycle, quiet, collect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connleak.model.recording import NoteCode, NoteFacts
from connleak.runner.session import PROBE_ANSWERS, Session, take_snapshot, wait
from connleak.runner.settling import IdleWindow, idle_when_settled
from connleak.runner.stopping import another_cycle

Preflight = Callable[[Session], None]
"""A check in the first cycle; raises Unusable if a verdict on the session would mean nothing."""
EARLY = 1.0
"""Seconds after the start of the first load at which the app must work."""


@dataclass(frozen=True)
class Cycles:
    """A schedule of load cycles, each with an idle window at its end."""

    idle_window: IdleWindow = idle_when_settled
    early: tuple[Preflight, ...] = ()
    """Checks during the first load."""
    late: tuple[Preflight, ...] = ()
    """Checks after the first cycle's idle window."""

    def walk(self, session: Session) -> int:
        """Go through the phases."""
        begin_baseline(session)
        wait(session, session.plan.phases.baseline)
        take_snapshot(session, "baseline", 0)
        while another_cycle(session):
            self.cycle(session, session.cycle + 1)
        final_idle_window(session)
        collect(session)
        return 0

    def cycle(self, session: Session, cycle: int) -> None:
        """Go through one cycle: the load, its drain, and the idle window at its end."""
        first = cycle == 1
        self.load(session, cycle, first)
        if first and session.plan.canary:
            planted = session.probes.plant()
            text = f"canary: {planted or 'none could be planted'}"
            session.note(NoteCode.CANARY, text, NoteFacts(canary=planted))
        status = session.load.stop()
        if status.estimated:
            text = f"{status.estimated} requests are of workers without connleak's plug-in, with times accurate to 3 s"
            session.note(NoteCode.REQUESTS_ESTIMATED, text, NoteFacts(count=status.estimated))
        session.begin("drain", cycle, cut=status.cut, requests=status.requests)
        self.idle_window(session)
        for check in self.late if first else ():
            check(session)

    def load(self, session: Session, cycle: int, first: bool) -> None:
        """Let one load last."""
        session.begin("load", cycle)
        session.load.start()
        checks = self.early if first else ()
        until_checks = min(EARLY, session.load_seconds) if checks else 0.0
        wait(session, until_checks)
        for check in checks:
            check(session)
        wait(session, session.load_seconds - until_checks)
        session.loaded += session.load_seconds


def begin_baseline(session: Session) -> None:
    """Begin the phase before any load, with the facts of the server."""
    server = session.server
    session.begin(
        "baseline",
        0,
        kind=server.kind,
        version=server.version,
        max_connections=server.max_connections,
        reserved=server.reserved,
        ours=server.own_server,
        own_database=server.own_database,
    )


def final_idle_window(session: Session) -> None:
    """Record the final idle window, with the holder tables of its start and its end."""
    session.begin("quiet", session.cycle)
    take_snapshot(session, "quiet", session.cycle)
    wait(session, session.plan.phases.quiet)
    take_snapshot(session, "quiet", session.cycle)


def collect(session: Session) -> None:
    """Run the cyclic garbage collector in every process; record the holders that are left after it."""
    session.begin("collect", session.cycle)
    if session.plan.probe == "off":
        return
    _, silent = session.probes.collect()
    if silent:
        text = f"collect unavailable in {silent} process(es): their probe's thread does not run"
        session.note(NoteCode.COLLECT_UNAVAILABLE, text)
    wait(session, PROBE_ANSWERS)
    take_snapshot(session, "collect", session.cycle)
