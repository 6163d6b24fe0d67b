"""A run while it goes on: its open parts and its clock, what it writes down, and the eye it keeps on all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from connleak.collectors.probe_collector import Collector
from connleak.collectors.sampler import Sampler
from connleak.databases.server import Server
from connleak.judging.holder_table import rows_of
from connleak.model.errors import Error, ProcessEnded
from connleak.model.plan import Plan
from connleak.model.recording import NO_FACTS, Note, NoteCode, NoteFacts, Process, Snapshot
from connleak.model.struct import Struct
from connleak.model.verdict import Table
from connleak.processes.app import App, Elsewhere
from connleak.processes.load import Load
from connleak.processes.supervisor import Supervisor
from connleak.processes.threads import stopped
from connleak.recording.format import PhaseLine
from connleak.recording.redaction import redact
from connleak.recording.writer import Writer
from connleak.runner.control import Control

PROBE_ANSWERS = 0.6
"""Seconds to read the server again after a collection: a close that was begun by it needs a moment to arrive."""


class Progress(Struct, frozen=True, kw_only=True):
    """Where a run is, for whoever shows it."""

    phase: str
    cycle: int
    cycles: int
    elapsed: float
    remaining: float
    states: dict[str, int]
    out: int
    requests: int
    failures: int


UNDER_LOAD = ("load", "watch")
"""The phases that may last, and of which not every sample is needed."""
Report = Callable[[Progress], None]


class Run:
    """The open parts of a run and its clock."""

    def __init__(self, plan: Plan, folder: Path, report: Report) -> None:
        self.plan = plan
        self.folder = folder.resolve()  # the children have working folders of their own
        self.report = report
        self.origin = time.monotonic()
        self.phase = "start"
        self.cycle = 0
        self.more = plan.cycles
        self.load_seconds = plan.phases.load
        self.loaded = 0.0
        self.secrets: set[str] = set()
        """What must not stand in anything that is written or shown."""
        self.refusal_seen = False
        self.writer: Writer
        self.keeper: Supervisor
        self.server: Server
        self.collector: Collector
        self.app: App | Elsewhere
        self.sampler: Sampler
        self.load: Load
        self.last_snapshot: Snapshot

    def now(self) -> float:
        return round(time.monotonic() - self.origin, 4)

    def begin(self, name: str, cycle: int, at: float | None = None, **facts: object) -> None:
        """Writes the begin of a phase, which ends the one before it."""
        self.phase, self.cycle = name, cycle
        if hasattr(self, "sampler"):
            self.sampler.thins = name in UNDER_LOAD
        self.writer.append("phases", PhaseLine(self.now() if at is None else at, name, cycle, facts))

    def note(self, code: NoteCode, text: str, facts: NoteFacts = NO_FACTS) -> None:
        self.writer.append("notes", Note(self.now(), code, redact(text, self.secrets), facts))

    def note_error(self, error: Error) -> None:
        code = NoteCode.PROCESS_ENDED if isinstance(error, ProcessEnded) else NoteCode.RUN_FAILED
        self.note(code, error.message)


def take_snapshot(run: Run, label: str, cycle: int) -> Snapshot:
    """Asks all probes for their holders, adds the processes that have a session but no probe, and writes it."""
    collector = run.collector
    snapshot = collector.exhaustion_snapshot(cycle) if label == "exhausted" else collector.snapshot(label, cycle)
    owners = run.app.ports() | (collector.relays.ports() if collector.relays else {})
    by_process: dict[int, list[int]] = {}
    for backend in run.sampler.latest.backends:
        owner = owners.get(backend.client_port or -1)
        if owner is not None:
            by_process.setdefault(owner, []).append(backend.client_port or -1)
    commands = run.app.processes()
    heard = {process.process for process in snapshot.processes}  # a probe that fell silent tells nothing any more
    processes = [
        msgspec.structs.replace(process, ports=tuple(by_process.get(process.process, ())))
        for process in snapshot.processes
    ]
    processes += [
        Process(process=pid, command=commands.get(pid, ""), ports=tuple(ports))
        for pid, ports in by_process.items()
        if pid not in heard
    ]
    snapshot = msgspec.structs.replace(snapshot, processes=tuple(processes))
    run.writer.append("snapshots", snapshot)
    if label not in ("exhausted", "asked"):
        run.last_snapshot = snapshot
    return snapshot


def pass_time(run: Run, seconds: float) -> None:
    """Lets a phase last, keeping an eye on the app and the load."""
    deadline = time.monotonic() + seconds
    for _ in ticks(run, 0.05):
        if time.monotonic() >= deadline:
            return


def ticks(run: Run, every: float) -> Iterator[None]:
    """Yields again and again; shows how far we are, and raises Error when the app or the load has ended."""
    shown = 0.0
    while True:
        run.writer.check()
        run.keeper.check()
        run.load.check()
        note_stopped(run)
        if run.collector.first_exhaustion and not run.refusal_seen:
            run.refusal_seen = True
            take_snapshot(run, "exhausted", run.cycle)
        if time.monotonic() - shown > 0.2:
            shown = time.monotonic()
            show(run)
        yield
        time.sleep(every)


def answering(run: Run) -> Control:
    """Returns the socket at which others ask who has what now, while the run goes on."""

    def ask() -> Table:
        if isinstance(run.app, App) and run.app.child is None:
            raise Error("the app is not started yet, so nobody can be asked", "")
        snapshot = take_snapshot(run, "asked", run.cycle)
        rows = rows_of(snapshot, {row.pid: row for row in run.sampler.latest.backends})
        return Table("now", snapshot.t, "", rows)

    def tell(thread: str, error: BaseException) -> None:
        run.keeper.stopped.append((thread, error))

    return Control(run.folder, run.keeper.scratch, ask, tell)


def note_stopped(run: Run) -> None:
    """Notes which threads beside the children an error has ended."""
    while run.keeper.stopped:
        thread, error = run.keeper.stopped.popleft()
        run.writer.append("notes", stopped(run.now(), thread, error))


def show(run: Run) -> None:
    """Reports where the run is."""
    plan = run.plan
    started = hasattr(run, "sampler")
    states = Counter(backend.state or "hidden" for backend in run.sampler.latest.backends) if started else {}
    one = run.load_seconds + plan.phases.settle + 0.3
    left = run.more * one + plan.phases.quiet + PROBE_ANSWERS
    run.report(
        Progress(
            phase=run.phase,
            cycle=run.cycle,
            cycles=max(plan.cycles, run.cycle),
            elapsed=run.now(),
            remaining=round(left, 1),
            states=dict(states),
            out=run.collector.out if started else 0,
            requests=run.load.status["requests"] if hasattr(run, "load") else 0,
            failures=run.load.status["failures"] if hasattr(run, "load") else 0,
        )
    )
