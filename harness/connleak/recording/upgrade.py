"""Upgrade of recordings in format 1, which has sentences in place of codes, and a plan without a kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

import msgspec

from connleak.model.plan import PlanKind
from connleak.model.recording import Note, NoteCode, NoteFacts, Request, Text
from connleak.model.struct import Seconds, Struct
from connleak.recording.format import EventLine

T = TypeVar("T")


FORMER_NAMES = {"asks": "requests", "budget": "max_idle_connections"}
"""Fields of a plan that have another name in format 2."""
HOST_PORTS = ("listen", "master_bind")
"""Fields of a plan that format 1 stores as text."""
LONGEST_PORT = 5
"""Digits of a TCP port."""


def plan(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a plan of format 1 with their present names and types: addresses were HOST:PORT."""
    found = {FORMER_NAMES.get(name, name): value for name, value in fields.items()}
    found.setdefault("kind", plan_kind(found))
    for name in HOST_PORTS:
        if isinstance(found.get(name), str):
            host, _, port = found[name].rpartition(":")
            port = port[:LONGEST_PORT]
            found[name] = {"host": host.strip("[]") or "127.0.0.1", "port": int(port)} if port.isdecimal() else None
    return found


def plan_kind(fields: dict[str, Any]) -> PlanKind:
    """Return the kind of a plan of format 1, from its other fields."""
    kinds: tuple[tuple[object, PlanKind], ...] = (
        (fields.get("window"), "watch"),
        (fields.get("target") == "probe" and fields.get("load") == "none", "probe"),
        (fields.get("target") == "locust" and not fields.get("app"), "follow"),
        (not fields.get("app"), "remote"),
        (fields.get("target") == "app", "app"),
    )
    return next((kind for found, kind in kinds if found), "target")


class Lines(Protocol):
    """A function that yields the rows of one of the recording's files."""

    def __call__(self, name: str, kind: type[T], /) -> Iterator[T]: ...


class FormatOneNote(Struct, frozen=True):
    """A note as format 1 stores it."""

    t: Seconds
    about: Text
    text: Text
    facts: dict[str, Any] = {}


def with_upgrade(lines: Lines) -> Lines:
    """Return a reader that yields the rows of format 1 as rows of the current format."""

    def upgraded(name: str, kind: type[T], /) -> Iterator[T]:
        if name not in UPGRADES:
            return lines(name, kind)
        stored, upgrade = UPGRADES[name]
        return cast("Iterator[T]", map(upgrade, lines(name, stored)))

    return upgraded


CODES: tuple[tuple[NoteCode, str, str, str], ...] = (
    # code, `about`, pattern in the text, name of a fact
    (NoteCode.CANARY, "", "", "canary"),
    (NoteCode.OBSERVER_STOPPED, "", "", "stopped"),
    (NoteCode.TOO_MANY_CONNECTIONS, "", r"\A 53300 \Z", "words"),
    (NoteCode.CONNECTION_CLOSED, "app", "server closed the connection unexpectedly", "words"),
    (NoteCode.DRIVER_ERROR, "app", "", "words"),
    (NoteCode.INTERRUPTED, "run", "", "interrupted"),
    (NoteCode.INTERRUPTED, "run", "^interrupted", ""),
    (NoteCode.PROCESS_ENDED, "run", "ended|interrupted", ""),
    (NoteCode.STOPPED_EARLY, "run", "^stopped after cycle", ""),
    (NoteCode.CLEANUP_FAILED, "end", "", ""),
    (NoteCode.RUN_FAILED, "run", "", ""),
    (NoteCode.CLOCK_JUMP, "database", "", "clock"),
    (NoteCode.SERVER_UNREACHABLE, "database", "did not answer", ""),
    (NoteCode.SERVER_SETUP, "database", "", ""),
    (NoteCode.REQUESTS_ESTIMATED, "load", "", "estimated"),
    (NoteCode.REQUESTS_WITHHELD, "load", "", "elsewhere"),
    (NoteCode.LOAD_LIMITED, "load", "", ""),
    (NoteCode.SAMPLE_GAP, "sampler", "", "gap"),
    (NoteCode.READ_FAILED, "sampler", "", "failed"),
    (NoteCode.SAMPLER_SUMMARY, "sampler", "", ""),
    (NoteCode.EVENTS_THINNED, "probe", "", "thinned"),
    (NoteCode.CHECKOUTS_OMITTED, "probe", "checkouts that came back", ""),
    (NoteCode.COLLECT_UNAVAILABLE, "probe", "^collect unavailable", ""),
    (NoteCode.PROBE_REJECTED, "probe", "", ""),
)
"""The first row that matches decides; an empty column matches every note."""

RENAMED = {"words": "phrase", "clock": "clock_jump", "estimated": "count", "refused": "count"}
"""Facts that have another name in format 2."""
TYPES = {field.name: field.type for field in msgspec.structs.fields(NoteFacts)}


def note(old: FormatOneNote) -> Note:
    """Return a note of format 1 with its code and its typed facts."""
    return Note(old.t, code_of(old), old.text, NoteFacts(**facts_of(old.facts)))


def code_of(old: FormatOneNote) -> NoteCode:
    """Return the code of the condition that a note of format 1 reports."""
    for code, about, pattern, fact in CODES:
        if about in ("", old.about) and (not fact or fact in old.facts) and re.search(pattern, text_of(old, fact)):
            return code
    return NoteCode.OTHER


def text_of(old: FormatOneNote, fact: str) -> str:
    """Return the text that the pattern of a row is matched against: a phrase found in a log, else the note's text."""
    return str(old.facts["words"]) if fact == "words" else old.text


def facts_of(old: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a note that format 2 has, without values of another type."""
    found: dict[str, Any] = {}
    for name, value in old.items():
        now = RENAMED.get(name, name)
        if now in TYPES and value is not None:
            try:
                found[now] = msgspec.convert(value, TYPES[now])
            except msgspec.ValidationError:
                continue
    return found


ACTION = re.compile(r"(\w+) in process \d+, opened in process \d+")


def event(old: EventLine) -> EventLine:
    """Return an event with the action that format 1 stores in its detail."""
    found = ACTION.match(old.detail) if old.kind == "shared" else None
    return msgspec.structs.replace(old, action=found[1]) if found else old


UNSENT = ("ConnectionRefused", "refused", "RetriesExceeded")
"""Parts of the error of a request that never reached the app."""
PLUGIN = "connleak: "
"""The prefix of the errors that the Locust plug-in writes."""


def request(old: Request) -> Request:
    """Return a request, marked as unsent if its error shows that it never reached the app."""
    from_plugin = old.error.startswith(PLUGIN)
    unsent = "is not loopback" in old.error if from_plugin else any(phrase in old.error for phrase in UNSENT)
    return msgspec.structs.replace(old, unsent=True) if unsent else old


UPGRADES: dict[str, tuple[type[Struct], Callable[[Any], Struct]]] = {
    "notes": (FormatOneNote, note),
    "events": (EventLine, event),
    "requests": (Request, request),
}
"""By file: the type of a line in format 1, and the function that upgrades it."""
