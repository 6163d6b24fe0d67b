"""The types of a recording, frozen; everything else is a function over these.

Times are float seconds since the start of the recording, on the machine's monotonic clock.
`--json` and the recording's files use these field names.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from connleak.model.plan import FORMAT, Plan
from connleak.model.struct import Seconds, Struct

Text = Annotated[str, msgspec.Meta(max_length=100_000)]
"""Text of an app, a server or a path; a row with a longer text is not read."""

HOST = 10_000_000
"""The number of a process is its host's number times this, plus its pid; this machine's number is 0."""
HANDLES = 10_000
"""The number of a SQLite handle is its process's pid times this, plus its descriptor; the probe uses the same."""


def process_name(process: int) -> str:
    """Return the name of a process: its pid, and the number of its host unless it is this machine."""
    host, pid = divmod(process, HOST)
    return f"{pid} of host {host}" if host else str(pid)


class Site(Struct, frozen=True):
    """A line of the app that made a checkout; a `file` in the app's folder is relative to it."""

    file: Text
    line: int
    function: Text

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class Backend(Struct, frozen=True, array_like=True):
    """One session as the server showed it in a sample."""

    pid: int
    started: Seconds
    application_name: Text = ""
    client_port: int | None = None
    state: Text | None = None
    state_since: Seconds | None = None
    xact_since: Seconds | None = None
    wait_event: Text | None = None
    query: Text = ""
    usename: Text | None = None


class Sample(Struct, frozen=True):
    """One reading of the server at time t."""

    t: float
    backends: tuple[Backend, ...]
    counters: dict[str, float] = {}
    cost: float = 0.0
    locks: tuple[int, ...] = ()
    """The pids that have an advisory lock, as of the last reading, which takes place once a second."""
    interval: float | None = None
    """Intended seconds since the sample before it; None: the plan's `sample_every`."""


class Event(Struct, frozen=True, omit_defaults=True):
    """An action of the app's pool or driver, as its probe reported it."""

    t: float
    kind: str
    process: int
    thread: int = 0
    backend: int | None = None
    checkout: int = 0
    site: Site | None = None
    stack: tuple[Site, ...] = ()
    pool: int = 0
    gc: bool = False
    overflow: bool = False
    nested: bool = False
    seconds: float = 0.0
    detail: str = ""
    request: str = ""
    other: int = 0
    """Of `shared`: the process that opened the session."""
    action: str = ""
    """Of `shared` between processes: how the session was used, `taken`, `used` or `closed`."""


class Holder(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An outstanding checkout in a snapshot of its process."""

    process: int
    checkout: int
    backend: int | None
    since: Seconds
    site: Site | None
    stack: tuple[Site, ...] = ()
    thread: int = 0
    thread_name: Text = ""
    thread_alive: bool = True
    """Whether the thread that made it is alive; with `task`, the greenlet or asyncio task."""
    task: bool = False
    now: Site | None = None
    pool: int = 0
    source: str = "pool"
    request: Text = ""
    """Method and route of the request that made it, if the framework is supported; in an idle window it has ended."""


class Pool(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A connection pool in a snapshot of its process."""

    process: int
    pool: int
    kind: Text
    size: int
    max_overflow: int = 0
    timeout: Seconds = 0.0
    checked_out: int = 0
    idle: tuple[int, ...] = ()
    site: Site | None = None
    created: Seconds = 0.0
    used: bool = True


class Process(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One process of the app, and whether its probe answered."""

    process: int
    host: Text = ""
    """The host that it runs on; empty: this machine."""
    command: Text = ""
    probe: bool = False
    answered: bool = True
    armed: bool = False
    dropped: int = 0
    unwatched: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


class Snapshot(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The holder tables of all processes at one moment: verdicts rest on these, timelines on events."""

    t: Seconds
    label: Text
    cycle: int
    holders: tuple[Holder, ...] = ()
    pools: tuple[Pool, ...] = ()
    processes: tuple[Process, ...] = ()
    reason: Text = ""
    """For `exhausted`: the cause of the first refusal."""


class Request(Struct, frozen=True, omit_defaults=True):
    """One request as Locust saw it; t is its start, `seconds` its length."""

    t: Seconds
    seconds: Seconds
    name: Text
    method: Text = "GET"
    ok: bool = True
    error: Text = ""
    unsent: bool = False
    """Whether the request failed before it reached the app."""


class Phase(Struct, frozen=True, omit_defaults=True):
    """A phase as it took place; `end` is None where the recording was interrupted in it."""

    name: str
    cycle: int
    begin: float
    end: float | None = None
    facts: dict[str, Any] = {}


class NoteCode(StrEnum):
    """The condition that a note reports; judging depends on the code and the facts, never on the text."""

    INTERRUPTED = "interrupted"
    PROCESS_ENDED = "process-ended"
    """The app, the load generator, the server or the supervisor ended during the run."""
    RUN_FAILED = "run-failed"
    """The run stopped on any other error."""
    CLEANUP_FAILED = "cleanup-failed"
    STOPPED_EARLY = "stopped-early"
    """The schedule ended before its last cycle, as planned."""
    CANARY = "canary"
    """Fact `canary`: the connection class of the planted leak, empty if no leak was planted."""
    OBSERVER_STOPPED = "observer-stopped"
    """An exception ended a thread of connleak. Fact `thread`: its name."""
    LINES_UNREADABLE = "lines-unreadable"

    SERVER_SETUP = "server-setup"
    SERVER_UNREACHABLE = "server-unreachable"
    CLOCK_JUMP = "clock-jump"
    """Fact `clock_jump`: seconds by which the server's clock was set."""

    DRIVER_ERROR = "driver-error"
    """The app's log has a driver's error about misuse of a connection. Facts `phrase` and `count`."""
    CONNECTION_CLOSED = "connection-closed"
    """The app's log reports connections that the server closed. Facts `phrase` and `count`."""
    TOO_MANY_CONNECTIONS = "too-many-connections"
    """The server's log reports SQLSTATE 53300. Facts `phrase` and `count`."""

    LOAD_LIMITED = "load-limited"
    """The generated load leaves out a part of the OpenAPI document."""
    REQUESTS_ESTIMATED = "requests-estimated"
    """Locust workers without the plug-in report counts only. Fact `count`."""
    REQUESTS_WITHHELD = "requests-withheld"
    """The load would have left this machine. Fact `elsewhere`: requests by host."""

    SAMPLER_SUMMARY = "sampler-summary"
    """Facts `samples`, `seconds`, `failures`, and `others`: sessions of other clients by application name."""
    SAMPLE_GAP = "sample-gap"
    READ_FAILED = "read-failed"

    PROBE_REJECTED = "probe-rejected"
    """A probe connection or one of its messages was rejected. Facts `process` and `count`."""
    COLLECT_UNAVAILABLE = "collect-unavailable"
    EVENTS_THINNED = "events-thinned"
    """From this moment on, short checkouts are left out of the events."""
    CHECKOUTS_OMITTED = "checkouts-omitted"

    OTHER = "other"


class NoteFacts(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The figures of a note; see the code for those that it has."""

    canary: Text = ""
    thread: Text = ""
    phrase: Text = ""
    count: int = 0
    clock_jump: float = 0.0
    gap: float = 0.0
    process: int = 0
    samples: int = 0
    seconds: float = 0.0
    failures: int = 0
    others: dict[Text, int] = {}
    elsewhere: dict[Text, int] = {}


NO_FACTS = NoteFacts()


class Note(Struct, frozen=True, omit_defaults=True):
    """A condition that the recording met: a code and figures for the judge, a sentence for the reader."""

    t: Seconds
    code: NoteCode
    text: Text
    facts: NoteFacts = NO_FACTS


class Machine(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The machine and the versions of a run."""

    cores: int = 0
    memory: int = 0
    system: str = ""
    python: str = ""
    packages: dict[str, str] = {}
    started: str = ""
    pid: int = 0
    """The process of connleak."""


class Recording(Struct, frozen=True, kw_only=True):
    """Everything that the judge reads: the content of one folder."""

    folder: str
    plan: Plan
    machine: Machine
    phases: tuple[Phase, ...] = ()
    samples: tuple[Sample, ...] = ()
    events: tuple[Event, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    requests: tuple[Request, ...] = ()
    notes: tuple[Note, ...] = ()
    format: int = FORMAT
