"""The recording's folder: its files, and reading them after any ending; `writer.py` appends while it happens.

plan.json and machine.json are written first, then JSON lines, one file a kind, one line a fact:
phases, samples (rows only when they change), stacks (numbered), events, snapshots, requests, notes.
A line that was cut by a crash is left out and told in a note. docs/recording.md describes each file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from connleak.model.errors import Error
from connleak.model.plan import FORMAT, Kind, Plan
from connleak.model.recording import (
    Backend,
    Event,
    Machine,
    Note,
    Phase,
    Recording,
    Request,
    Sample,
    Site,
    Snapshot,
    Words,
)
from connleak.model.struct import Seconds, Struct
from connleak.recording import folders

DAMAGED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading bytes that are no such JSON raises."""
SESSIONS = 20_000_000
"""Sessions of all samples together that are read, 8 bytes each; 30 hours of 500 sessions have 4 000 000."""
T = TypeVar("T")


class SampleLine(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A sample as stored: `rows` are the new and changed sessions, or all when `full`; `gone` the pids that left."""

    t: Seconds
    full: bool = False
    rows: tuple[Backend, ...] = ()
    gone: tuple[int, ...] = ()
    counters: dict[str, float] = {}
    cost: Seconds = 0.0
    locks: tuple[int, ...] | None = None


class StackLine(Struct, frozen=True):
    """A call stack, app frames only, innermost first; events and holders name it by its number."""

    id: int
    stack: tuple[tuple[Words, int, Words], ...]


class EventLine(Struct, frozen=True, omit_defaults=True):
    """An event as stored: `at` numbers the stack."""

    t: Seconds
    kind: Words
    process: int
    thread: int = 0
    backend: int | None = None
    checkout: int = 0
    at: int = -1
    pool: int = 0
    gc: bool = False
    overflow: bool = False
    nested: bool = False
    seconds: Seconds = 0.0
    detail: Words = ""
    request: Words = ""
    other: int = 0


class PhaseLine(Struct, frozen=True, omit_defaults=True):
    """The begin of a phase; the phase before it ends there. `end` closes the recording."""

    t: Seconds
    name: Words
    cycle: int
    facts: dict[str, Any] = {}


FILES: dict[str, type[Struct]] = {
    "phases": PhaseLine,
    "samples": SampleLine,
    "stacks": StackLine,
    "events": EventLine,
    "snapshots": Snapshot,
    "requests": Request,
    "notes": Note,
}


def write_json(path: Path, value: object) -> None:
    """Writes one JSON document, whole or not at all."""
    folders.write(path, json_text(value))


def json_text(value: object) -> str:
    """Returns a value as JSON that people can read, with a line's end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def json_line(value: object) -> str:
    """Returns a value as one line of JSON, with the line's end."""
    return msgspec.json.encode(value).decode() + "\n"


def read_json(path: Path, kind: type[T], again: str) -> T:
    """Returns one JSON document of a kind; raises Error when it is not there, or is none."""
    try:
        return msgspec.json.decode(folders.read(path), type=kind)
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}", again) from None
    except DAMAGED as error:
        raise Error(f"{path} is damaged: {error}", again) from None


def read(folder: Path) -> Recording:
    """Returns the recording in a folder, as far as it goes; raises Error when it is none or of another format."""
    plan = read_plan(folder)
    broken: dict[str, int] = {}

    def lines(name: str, kind: type[T]) -> Iterator[T]:
        return read_lines(folder / f"{name}.jsonl", kind, broken)

    stacks = {line.id: tuple(Site(*frame) for frame in line.stack) for line in lines("stacks", StackLine)}
    notes = [msgspec.structs.replace(note, facts=typed(note.facts)) for note in lines("notes", Note)]
    recording = Recording(
        folder=str(folder),
        plan=plan,
        machine=read_machine(folder),
        phases=tuple(phases_of(list(lines("phases", PhaseLine)))),
        samples=tuple(samples_of(lines("samples", SampleLine), folder / "samples.jsonl")),
        events=tuple(event_of(line, stacks) for line in lines("events", EventLine)),
        snapshots=tuple(lines("snapshots", Snapshot)),
        requests=tuple(sorted(lines("requests", Request), key=lambda request: request.t)),
        format=plan.format,
    )
    for name, count in broken.items():
        notes.append(Note(t=0.0, about="run", text=f"{count} line(s) of {name}.jsonl could not be read"))
    return msgspec.structs.replace(recording, notes=tuple(notes))


def read_machine(folder: Path) -> Machine:
    """Returns what is known of the machine of a recording: nothing when that is damaged."""
    try:
        return read_json(folder / "machine.json", Machine, "")
    except Error:
        return Machine()


def read_plan(folder: Path) -> Plan:
    """Returns the plan of a recording's folder; raises Error with the reason when there is none."""
    path = folder / "plan.json"
    again = "connleak judge reports/latest"
    try:
        data = folders.read(path)
    except FileNotFoundError:
        raise Error(f"{folder} is no recording: it has no plan.json", again) from None
    except OSError as error:
        raise Error(f"{folder} cannot be read: {error.strerror}", again) from None
    try:
        version = msgspec.json.decode(data, type=dict[str, Any]).get("format")
        if version is None:
            raise Error(f"{path} names no format version", again)
        if isinstance(version, int) and version > FORMAT:
            raise Error(
                f"{path} has format {version}, newer than this connleak understands ({FORMAT})",
                "pip install --upgrade connleak",
            )
        if version != FORMAT:
            raise Error(f"{path} has format {version}, which this connleak ({FORMAT}) does not read", again)
        return plan_of(msgspec.json.decode(data, type=dict[str, Any]))
    except DAMAGED as error:
        raise Error(f"{path} is damaged: {error}", again) from None


def plan_of(fields: dict[str, Any]) -> Plan:
    """Return the plan that plan.json holds; one of an older connleak has no kind."""
    return msgspec.convert({"kind": kind_of_old_plan(fields), **fields}, Plan)


def kind_of_old_plan(fields: dict[str, Any]) -> Kind:
    """Derive the kind of a plan that was written before plans had one."""
    kinds: tuple[tuple[object, Kind], ...] = (
        (fields.get("window"), "watch"),
        (fields.get("target") == "probe" and fields.get("load") == "none", "probe"),
        (fields.get("target") == "locust" and not fields.get("app"), "follow"),
        (not fields.get("app"), "remote"),
        (fields.get("target") == "app", "app"),
    )
    return next((kind for found, kind in kinds if found), "target")


def read_lines(path: Path, kind: type[T], bad: dict[str, int]) -> Iterator[T]:
    """Yields the readable rows of a file of any size, and counts the unreadable lines under its name."""
    decoder = msgspec.json.Decoder(kind)
    try:
        for line in folders.lines(path):
            if line.strip():
                try:
                    yield decoder.decode(line)
                except DAMAGED:
                    bad[path.stem] = bad.get(path.stem, 0) + 1
    except OSError:
        return


def phases_of(lines: list[PhaseLine]) -> Iterator[Phase]:
    """Yields the phases with their ends; the last one of a broken recording has none."""
    following = iter([*lines[1:], None])
    for line in lines:
        after = next(following)
        if line.name != "end":
            yield Phase(line.name, line.cycle, line.t, after.t if after else None, typed(line.facts))


FACTS: dict[str, type] = {
    **dict.fromkeys(("kind", "version", "words", "canary"), str),
    **dict.fromkeys(("max_connections", "reserved", "out", "waiting", "requests", "estimated", "count"), int),
    **dict.fromkeys(("ours", "own_database", "settled", "cut"), int),
    "others": dict,
}
"""Of the facts that are asked for, what they are: a truth is a number, too."""


def typed(facts: dict[str, Any]) -> dict[str, Any]:
    """Returns facts without those that are of another type than what is asked for."""
    return {name: value for name, value in facts.items() if isinstance(value, FACTS.get(name, object))}


def samples_of(lines: Iterable[SampleLine], path: Path) -> Iterator[Sample]:
    """Yields whole samples from stored changes; what did not change is one object.

    A line of one changed session makes a sample of them all: raises Error when the samples have more than SESSIONS.
    """
    room = SESSIONS
    now: dict[int, Backend] = {}
    rows: tuple[Backend, ...] = ()
    counters: dict[str, float] = {}
    locks: tuple[int, ...] = ()
    for line in lines:
        if line.full:
            there = {row.pid for row in line.rows}
            now = {pid: row for pid, row in now.items() if pid in there}
        for pid in line.gone:
            now.pop(pid, None)
        for row in line.rows:
            now[row.pid] = like(row, now.get(row.pid))
        if line.full or line.gone or line.rows:
            room -= len(now)
            if room < 0:
                raise Error(
                    f"{path}: its samples have more than {SESSIONS:,} sessions in all: it is not read",
                    "connleak watch ... --every 1",
                )
            rows = tuple(now.values())
        counters = line.counters or counters
        locks = locks if line.locks is None else line.locks
        yield Sample(line.t, rows, counters, line.cost, locks)


def like(row: Backend, before: Backend | None) -> Backend:
    """Returns a session's row whose parts are the same objects as in the row before it, where they are equal."""
    if before is None or row == before:
        return before or row
    return Backend(
        before.pid, *(old if old == new else new for old, new in zip(fields(before), fields(row), strict=True))
    )


fields = attrgetter(*Backend.__struct_fields__[1:])


def event_of(line: EventLine, stacks: dict[int, tuple[Site, ...]]) -> Event:
    """Returns the event with its stack in place of the stack's number."""
    stack = stacks.get(line.at, ())
    return Event(
        t=line.t,
        kind=line.kind,
        process=line.process,
        thread=line.thread,
        backend=line.backend,
        checkout=line.checkout,
        site=stack[0] if stack else None,
        stack=stack,
        pool=line.pool,
        gc=line.gc,
        overflow=line.overflow,
        nested=line.nested,
        seconds=line.seconds,
        detail=line.detail,
        request=line.request,
        other=line.other,
    )
