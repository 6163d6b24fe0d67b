"""A session: its open parts and its clock, and the functions by which a schedule lets time pass and takes snapshots."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from connleak.collectors.probe_collector import Collector
from connleak.databases.server import Server
from connleak.judging.holder_table import rows_of
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import NO_FACTS, Backend, NoteCode, NoteFacts, Process, Snapshot
from connleak.model.verdict import Table
from connleak.processes.app import AppPart
from connleak.processes.load import Load
from connleak.processes.part import Checked
from connleak.processes.supervisor import Supervisor
from connleak.runner.control import Control
from connleak.runner.journal import Journal
from connleak.runner.parts import Callbacks, Progress, SamplerPart

PROBE_ANSWERS = 0.6
"""Seconds until the server shows the connections that a garbage collection closed."""
UNDER_LOAD = ("load", "watch")
"""Phases without a bound on their length, of which not every sample is needed."""


@dataclass
class Session:
    """The parts of a session, and where it is in its schedule."""

    journal: Journal
    supervisor: Supervisor
    server: Server
    app: AppPart
    load: Load
    probes: Collector
    sampler: SamplerPart
    callbacks: Callbacks
    more: int
    """Cycles that are still to come."""
    load_seconds: float
    """The length of the next load."""
    loaded: float = 0.0
    """Seconds of load up to now."""
    exhaustion_seen: bool = False
    """Whether the holder table of the first pool timeout has been written."""
    last_snapshot: Snapshot | None = None
    """The last one of a phase."""

    @property
    def plan(self) -> Plan:
        return self.journal.plan

    @property
    def folder(self) -> Path:
        return self.journal.folder

    @property
    def phase(self) -> str:
        return self.journal.phase

    @property
    def cycle(self) -> int:
        return self.journal.cycle

    @property
    def parts(self) -> tuple[Checked, ...]:
        return (self.journal.writer, self.supervisor, self.app, self.load)

    def now(self) -> float:
        return self.journal.now()

    def begin(self, phase: str, cycle: int, at: float | None = None, **facts: object) -> None:
        """Write the start of a phase, which ends the one before it."""
        self.sampler.thins = phase in UNDER_LOAD
        self.journal.begin(phase, cycle, at, **facts)

    def note(self, code: NoteCode, text: str, facts: NoteFacts = NO_FACTS) -> None:
        """Write a note."""
        self.journal.note(code, text, facts)

    def is_of_app(self, backend: Backend) -> bool:
        """Return whether a session of a shared server is the app's: by its name, the probe, or its client port."""
        named = backend.application_name == self.server.app_name
        return named or self.probes.saw(backend.pid) or self.app.owns(backend)

    def show(self) -> None:
        """Report the progress to the caller."""
        plan = self.plan
        states = Counter(backend.state or "hidden" for backend in self.sampler.latest.backends)
        status = self.load.status
        self.callbacks.progress(
            Progress(
                phase=self.phase,
                cycle=self.cycle,
                cycles=max(plan.cycles, self.cycle),
                elapsed=self.now(),
                remaining=round(self.more * cycle_seconds(plan, self.load_seconds) + end_seconds(plan), 1),
                states=dict(states),
                out=self.probes.out,
                requests=status.requests,
                failures=status.failures,
            )
        )


def cycle_seconds(plan: Plan, load: float) -> float:
    """Estimate the length of one cycle."""
    return load + plan.phases.settle + 0.3


def end_seconds(plan: Plan) -> float:
    """Estimate the time after the last cycle."""
    return plan.phases.quiet + PROBE_ANSWERS


def first_progress(journal: Journal) -> Progress:
    """Return the progress of a session that has no parts yet."""
    plan = journal.plan
    return Progress(
        phase=journal.phase,
        cycle=0,
        cycles=plan.cycles,
        elapsed=journal.now(),
        remaining=round(plan.cycles * cycle_seconds(plan, plan.phases.load) + end_seconds(plan), 1),
        states={},
        out=0,
        requests=0,
        failures=0,
    )


def poll(session: Session, every: float) -> Iterator[None]:
    """Yield every `every` seconds; report the progress, and raise Error once a part has failed."""
    shown = 0.0
    while True:
        for part in session.parts:
            part.check()
        session.journal.note_stopped_threads()
        if session.probes.first_exhaustion and not session.exhaustion_seen:
            session.exhaustion_seen = True
            take_snapshot(session, "exhausted", session.cycle)
        if time.monotonic() - shown > 0.2:
            shown = time.monotonic()
            session.show()
        yield
        time.sleep(every)


def wait(session: Session, seconds: float) -> None:
    """Let a phase last; raise Error once a part has failed."""
    deadline = time.monotonic() + seconds
    for _ in poll(session, 0.05):
        if time.monotonic() >= deadline:
            return


def take_snapshot(session: Session, label: str, cycle: int) -> Snapshot:
    """Write a snapshot of all holder tables, with the processes that have a session but no probe."""
    probes = session.probes
    snapshot = probes.exhaustion_snapshot(cycle) if label == "exhausted" else probes.snapshot(label, cycle)
    owners = session.app.ports() | (probes.relays.ports() if probes.relays else {})
    by_process: dict[int, list[int]] = {}
    for backend in session.sampler.latest.backends:
        owner = owners.get(backend.client_port or -1)
        if owner is not None:
            by_process.setdefault(owner, []).append(backend.client_port or -1)
    commands = session.app.processes()
    probed = {process.process for process in snapshot.processes}
    processes = [
        msgspec.structs.replace(process, ports=tuple(by_process.get(process.process, ())))
        for process in snapshot.processes
    ]
    processes += [
        Process(process=pid, command=commands.get(pid, ""), ports=tuple(ports))
        for pid, ports in by_process.items()
        if pid not in probed
    ]
    snapshot = msgspec.structs.replace(snapshot, processes=tuple(processes))
    session.journal.writer.append("snapshots", snapshot)
    if label not in ("exhausted", "asked"):
        session.last_snapshot = snapshot
    return snapshot


def answering(session: Session) -> Control:
    """Return the socket at which `connleak holders` gets the current holder table."""

    def answer() -> Table:
        if not session.app.started:
            raise Error("the app is not started yet", "")
        snapshot = take_snapshot(session, "asked", session.cycle)
        rows = rows_of(snapshot, {row.pid: row for row in session.sampler.latest.backends})
        return Table("now", snapshot.t, "", rows)

    def report(thread: str, error: BaseException) -> None:
        session.journal.stopped.append((thread, error))

    return Control(session.folder, session.supervisor.scratch, answer, report)
