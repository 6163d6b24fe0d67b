"""Read a recording's folder after any ending: a line that was cut off is left out and counted in a note."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from connleak.model.errors import Error
from connleak.model.plan import FORMAT, Plan
from connleak.model.recording import Event, Machine, Note, NoteCode, Phase, Recording, Request, Site, Snapshot
from connleak.recording import delta, folders, upgrade
from connleak.recording.downsampling import sample_interval
from connleak.recording.format import EventLine, PhaseLine, SampleLine, StackLine

DAMAGED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors of decoding bytes that are not JSON of the expected type."""
T = TypeVar("T")


def read(folder: Path) -> Recording:
    """Return the recording in a folder, complete or not; raise Error when there is none, or its format is unknown."""
    plan = read_plan(folder)
    unreadable: dict[str, int] = {}

    def stored(name: str, kind: type[T], /) -> Iterator[T]:
        return read_lines(folder / f"{name}.jsonl", kind, unreadable)

    lines = upgrade.with_upgrade(stored) if plan.format == 1 else stored
    stacks = {line.id: tuple(Site(*frame) for frame in line.stack) for line in lines("stacks", StackLine)}
    notes = list(lines("notes", Note))
    samples = delta.decode(lines("samples", SampleLine), folder / "samples.jsonl", default_interval(plan))
    recording = Recording(
        folder=str(folder),
        plan=plan,
        machine=read_machine(folder),
        phases=tuple(phases_of(list(lines("phases", PhaseLine)))),
        samples=tuple(samples),
        events=tuple(event_of(line, stacks) for line in lines("events", EventLine)),
        snapshots=tuple(lines("snapshots", Snapshot)),
        requests=tuple(sorted(lines("requests", Request), key=lambda request: request.t)),
        format=plan.format,
    )
    for name, count in unreadable.items():
        notes.append(Note(0.0, NoteCode.LINES_UNREADABLE, f"{count} line(s) of {name}.jsonl could not be read"))
    return msgspec.structs.replace(recording, notes=tuple(notes))


def read_json(path: Path, kind: type[T], command: str) -> T:
    """Return the JSON document of a file; raise Error with `command` as the next step when there is none."""
    try:
        return msgspec.json.decode(folders.read(path), type=kind)
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}", command) from None
    except DAMAGED as error:
        raise Error(f"{path} is damaged: {error}", command) from None


def read_machine(folder: Path) -> Machine:
    """Return the machine that a recording was made on; an empty one when the file is missing or damaged."""
    try:
        return read_json(folder / "machine.json", Machine, "")
    except Error:
        return Machine()


def read_plan(folder: Path) -> Plan:
    """Return the plan of a recording; raise Error with the reason when it cannot be read."""
    path = folder / "plan.json"
    command = "connleak judge reports/latest"
    try:
        data = folders.read(path)
    except FileNotFoundError:
        raise Error(f"{folder} is not a recording: it has no plan.json", command) from None
    except OSError as error:
        raise Error(f"{folder} cannot be read: {error.strerror}", command) from None
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
        need_known_format(raw.get("format"), path, command)
        return msgspec.convert(upgrade.plan(raw) if raw["format"] == 1 else raw, Plan)
    except DAMAGED as error:
        raise Error(f"{path} is damaged: {error}", command) from None


def need_known_format(version: object, path: Path, command: str) -> None:
    """Raise Error for a format version that this connleak cannot read."""
    if version is None:
        raise Error(f"{path} has no format version", command)
    if isinstance(version, int) and version > FORMAT:
        raise Error(
            f"{path} has format {version}, which is newer than this connleak can read ({FORMAT})",
            "pip install --upgrade connleak",
        )
    if version not in (1, FORMAT):
        raise Error(f"{path} has format {version}, which this connleak cannot read (it reads {FORMAT})", command)


def read_lines(path: Path, kind: type[T], unreadable: dict[str, int]) -> Iterator[T]:
    """Yield the readable lines of a file of any size, and count the others by the file's stem."""
    decoder = msgspec.json.Decoder(kind)
    try:
        for line in folders.lines(path):
            if line.strip():
                try:
                    yield decoder.decode(line)
                except DAMAGED:
                    unreadable[path.stem] = unreadable.get(path.stem, 0) + 1
    except OSError:
        return


def default_interval(plan: Plan) -> Callable[[float], float | None]:
    """Return the intended sample interval, by time, of the lines that do not state it: None, as planned.

    In format 1 no line states it: there it follows from the rule of downsampling.
    """

    def by_rule(t: float) -> float | None:
        interval = sample_interval(plan.sample_every, t, plan.window)
        return interval if interval > plan.sample_every else None

    return by_rule if plan.format == 1 else lambda t: None


def phases_of(lines: list[PhaseLine]) -> Iterator[Phase]:
    """Yield the phases with their ends; the last phase of an interrupted recording has none."""
    following = iter([*lines[1:], None])
    for line in lines:
        after = next(following)
        if line.name != "end":
            yield Phase(line.name, line.cycle, line.t, after.t if after else None, typed(line.facts))


FACTS: dict[str, type] = {
    **dict.fromkeys(("kind", "version"), str),
    **dict.fromkeys(("max_connections", "reserved", "out", "waiting", "requests"), int),
    **dict.fromkeys(("ours", "own_database", "settled", "cut"), int),
}
"""Types of the facts that the judge reads; a bool is an int."""


def typed(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts without those that are not of the type that the judge expects."""
    return {name: value for name, value in facts.items() if isinstance(value, FACTS.get(name, object))}


_AT = EventLine.__struct_fields__.index("at")
before_stack = attrgetter(*EventLine.__struct_fields__[:_AT])
after_stack = attrgetter(*EventLine.__struct_fields__[_AT + 1 :])


def event_of(line: EventLine, stacks: dict[int, tuple[Site, ...]]) -> Event:
    """Return the event of a line, with its stack in place of the stack's number."""
    stack = stacks.get(line.at, ())
    return Event(*(*before_stack(line), stack[0] if stack else None, stack, *after_stack(line)))
