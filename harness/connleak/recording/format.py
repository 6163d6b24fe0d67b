"""The files of a recording's folder and the types of their lines. docs/recording.md describes every field.

plan.json and machine.json are written first.
All other files hold JSON lines, one file for each kind of fact, one line for each fact.
"""

from __future__ import annotations

from typing import Any

import msgspec

from connleak.model.recording import Backend, Note, Request, Snapshot, Text
from connleak.model.struct import Seconds, Struct


class SampleLine(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A sample as stored: the differences from the line before it; see `delta`."""

    t: Seconds
    full: bool = False
    """Whether `rows` are all sessions instead of the new and changed ones."""
    rows: tuple[Backend, ...] = ()
    gone: tuple[int, ...] = ()
    """Pids of the sessions that have ended."""
    counters: dict[str, float] = {}
    """Empty: unchanged."""
    cost: Seconds = 0.0
    locks: tuple[int, ...] | None = None
    """None: unchanged."""
    interval: Seconds | None = None
    """Set where downsampling made the intended interval longer than the plan's `sample_every`."""


class StackLine(Struct, frozen=True):
    """A call stack, app frames only, innermost first; events and holders refer to it by its number."""

    id: int
    stack: tuple[tuple[Text, int, Text], ...]


class EventLine(Struct, frozen=True, omit_defaults=True):
    """An event as stored: the fields of `Event`, with the number of its stack in `at`."""

    t: Seconds
    kind: Text
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
    detail: Text = ""
    request: Text = ""
    other: int = 0
    action: Text = ""


class PhaseLine(Struct, frozen=True, omit_defaults=True):
    """The start of a phase, which ends the phase before it. A phase named `end` closes the recording."""

    t: Seconds
    name: Text
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
"""The files of JSON lines by their stem, with the type of their lines."""


def json_text(value: object) -> str:
    """Return a value as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def json_line(value: object) -> str:
    """Return a value as one line of JSON with a final newline."""
    return msgspec.json.encode(value).decode() + "\n"
