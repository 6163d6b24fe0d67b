"""Recordings of format 1 are upgraded to codes in place of sentences; no verdict depends on a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from connleak.corpus import archive
from connleak.judging import judge
from connleak.model.plan import FORMAT
from connleak.model.recording import Event, Note, NoteCode, NoteFacts, Recording, Request
from connleak.recording import upgrade
from connleak.recording.format import EventLine, json_text
from connleak.recording.reader import read
from golden import differences, figures_of, recordings
from msgspec.structs import replace
from support.builders import plan

GARBAGE = "xxx"


def garbled(recording: Recording) -> Recording:
    """Return a recording without the sentences of its notes, events and requests."""

    def note(old: Note) -> Note:
        return replace(old, text=GARBAGE, facts=replace(old.facts, phrase=old.facts.phrase and GARBAGE))

    def event(old: Event) -> Event:
        return replace(old, detail=old.detail and GARBAGE)

    def request(old: Request) -> Request:
        return replace(old, error=old.error and GARBAGE)

    return replace(
        recording,
        notes=tuple(map(note, recording.notes)),
        events=tuple(map(event, recording.events)),
        requests=tuple(map(request, recording.requests)),
    )


def test_no_verdict_on_a_stored_recording_depends_on_a_sentence() -> None:
    judged = 0
    for name, path in recordings().items():
        with archive.unpacked(path) as folder:
            if (folder / "verdict.json").exists():
                continue
            recording = read(folder)
        judged += 1
        before, after = figures_of(judge(recording)), figures_of(judge(garbled(recording)))
        assert not list(differences(before, after)), name
    assert judged > 250


def test_garbled_recordings_have_no_sentence_left() -> None:
    """The test above replaces existing notes, details and errors."""
    with archive.unpacked(recordings()["golden/queries-shared"]) as folder:
        made = garbled(read(folder))
    assert {note.text for note in made.notes} == {GARBAGE}
    assert {event.detail for event in made.events} <= {"", GARBAGE}
    assert [finding.kind for finding in judge(made).findings].count("shared") == 1


def note_of(about: str, text: str, **facts: object) -> Note:
    return upgrade.note(upgrade.FormatOneNote(1.0, about, text, facts))


@pytest.mark.parametrize(
    ("about", "text", "facts", "code"),
    [
        ("run", "canary: ExtendedConnection", {"canary": "ExtendedConnection"}, NoteCode.CANARY),
        ("run", "canary: none could be planted", {"canary": None}, NoteCode.CANARY),
        ("run", "the app ended with exit code 1; its last lines:\n    x", {}, NoteCode.PROCESS_ENDED),
        ("run", "Locust was ended by SIGKILL", {}, NoteCode.PROCESS_ENDED),
        ("run", "interrupted in phase load of cycle 2", {"interrupted": True}, NoteCode.INTERRUPTED),
        ("run", "stopped after cycle 2 of 4: more could not change the verdict", {}, NoteCode.STOPPED_EARLY),
        ("run", "cannot write to /tmp: no space", {}, NoteCode.RUN_FAILED),
        ("end", "app_1 cannot be dropped", {}, NoteCode.CLEANUP_FAILED),
        ("database", "the server did not answer: refused", {}, NoteCode.SERVER_UNREACHABLE),
        ("database", "the server's clock jumped by +9.00 s", {"clock": 9.0}, NoteCode.CLOCK_JUMP),
        ("database", "GRANT pg_monitor TO app", {"told": True}, NoteCode.SERVER_SETUP),
        ("database", "postgres.log says 7 times: 53300", {"words": " 53300 ", "count": 7},
         NoteCode.TOO_MANY_CONNECTIONS),
        ("app", "app.log says", {"words": "server closed the connection unexpectedly", "count": 4},
         NoteCode.CONNECTION_CLOSED),
        ("app", "app.log says", {"words": "Packet sequence number wrong", "count": 4}, NoteCode.DRIVER_ERROR),
        ("thread", "connleak's sampler stopped", {"thread": "sampler", "stopped": 3.0}, NoteCode.OBSERVER_STOPPED),
        ("probe", "200000 events: from here on", {"thinned": True}, NoteCode.EVENTS_THINNED),
        ("load", "3 requests", {"estimated": 3}, NoteCode.REQUESTS_ESTIMATED),
        ("load", "2 requests to other hosts were refused: a", {"elsewhere": {"a": 2}}, NoteCode.REQUESTS_WITHHELD),
        ("sampler", "9 samples, 1.0 ms each", {"samples": 9, "others": {"psql": 1}}, NoteCode.SAMPLER_SUMMARY),
        ("cat", "meow", {}, NoteCode.OTHER),
    ],
)  # fmt: skip
def test_a_note_of_format_1_gets_the_code_of_its_condition(about: str, text: str, facts: dict, code: NoteCode) -> None:
    assert note_of(about, text, **facts).code == code


def test_a_notes_facts_are_typed_and_renamed_and_those_of_another_type_are_left_out() -> None:
    words = note_of("app", "", words="Packet sequence number wrong", count="many").facts
    assert words == NoteFacts(phrase="Packet sequence number wrong")
    assert note_of("run", "", canary=7).facts == NoteFacts()
    assert note_of("database", "", clock=2.5).facts == NoteFacts(clock_jump=2.5)
    assert note_of("sampler", "", others={"psql": 1}, samples=3).facts == NoteFacts(others={"psql": 1}, samples=3)


def test_events_and_requests_of_format_1_get_what_their_sentences_say() -> None:
    closed = EventLine(1.0, "shared", 8, detail="closed in process 8, opened in process 7", other=7)
    assert upgrade.event(closed).action == "closed"
    assert upgrade.event(replace(closed, kind="refused")).action == ""
    assert upgrade.event(EventLine(1.0, "shared", 8, detail="used by a thread in turns with another")).action == ""
    errors = {
        "[Errno 111] Connection refused": True,
        "RetriesExceeded": True,
        "connleak: evil.example is not loopback; --allow-remote evil.example": True,
        "connleak: the app refused": False,
        "500 Server Error": False,
    }
    assert {error: upgrade.request(Request(1.0, 0.1, "/", error=error)).unsent for error in errors} == errors


@pytest.mark.parametrize(("version", "code"), [(1, NoteCode.PROCESS_ENDED), (FORMAT, NoteCode.OTHER)])
def test_only_a_recording_of_format_1_is_upgraded(tmp_path: Path, version: int, code: NoteCode) -> None:
    (tmp_path / "plan.json").write_text(json_text(replace(plan(), format=version)))
    old = {"t": 1.0, "about": "run", "text": "the app ended with exit code 1", "facts": {"count": 3}}
    line = old if version == 1 else {**old, "code": "other"}
    (tmp_path / "notes.jsonl").write_text(json.dumps(line) + "\n")
    assert read(tmp_path).notes == (Note(1.0, code, old["text"], NoteFacts(count=3)),)


def test_a_canary_whose_class_ends_in_ended_leaves_the_verdict_clean() -> None:
    """The packed recording is of format 1; its canary's class is renamed in the note as format 1 stores it."""
    with archive.unpacked(recordings()["golden/canary-clean"]) as folder:
        path = folder / "notes.jsonl"
        path.write_text(path.read_text().replace("connection", "ExtendedConnection"))
        made = read(folder)
    assert [note.facts.canary for note in made.notes if note.code == NoteCode.CANARY] == ["ExtendedConnection"]
    assert judge(made).outcome == "clean"
    ended = replace(made, notes=(*made.notes, Note(1.0, NoteCode.PROCESS_ENDED, "")))
    assert judge(ended).outcome == "inconclusive"
    assert msgspec.json.decode(msgspec.json.encode(made.notes), type=tuple[Note, ...]) == made.notes
