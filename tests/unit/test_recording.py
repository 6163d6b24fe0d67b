"""The recording's folder is readable after any ending; anything else is a clear error."""

from __future__ import annotations

import contextlib
import gc
import json
from pathlib import Path

import pytest
from connleak.judging import judge
from connleak.model.addresses import HostPort
from connleak.model.errors import Error
from connleak.model.plan import FORMAT
from connleak.model.recording import Machine, Note, NoteCode, Phase, Request, Sample, Site, Snapshot
from connleak.processes.threads import Supervised
from connleak.recording import delta, reader
from connleak.recording.folders import new_folder, point_latest
from connleak.recording.format import EventLine, PhaseLine, SampleLine, StackLine
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from support.builders import backend
from support.plans import plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Writer(tmp_path / "run", plan(), Machine(cores=2)) as writer:
        writer.append("phases", PhaseLine(0.0, "baseline", 0), PhaseLine(1.0, "load", 1))
        writer.append("samples", SampleLine(t=0.1, full=True, rows=(backend(1), backend(2)), counters={"sessions": 2}))
        writer.append("samples", SampleLine(t=0.2, rows=(backend(3, state="active"),), gone=(1,)))
        writer.append("stacks", StackLine(0, (("app.py", 31, "view"), ("lib.py", 4, "inner"))))
        writer.append("events", EventLine(0.15, "checkout", 100, 1, 3, 7, 0))
        writer.append("snapshots", Snapshot(t=0.9, label="baseline", cycle=0))
        writer.append("requests", Request(1.2, 0.01, "/", ok=False, error="HTTP 500"))
        writer.append("notes", Note(0.3, NoteCode.OTHER, "something was off"))
    return tmp_path / "run"


def test_what_was_written_is_read(folder: Path) -> None:
    made = read(folder)
    assert made.plan == plan()
    assert made.phases == (Phase("baseline", 0, 0.0, 1.0), Phase("load", 1, 1.0, None))
    assert made.samples[0] == Sample(0.1, (backend(1), backend(2)), {"sessions": 2.0}, 0.0)
    assert [row.pid for row in made.samples[1].backends] == [2, 3]
    assert made.samples[1].counters == {"sessions": 2.0}
    assert made.events[0].site == Site("app.py", 31, "view")
    assert made.events[0].stack[1].function == "inner"
    assert made.requests[0].error == "HTTP 500"
    assert made.notes[0].text == "something was off"


def test_a_recording_cut_at_any_byte_is_read_and_judged(folder: Path) -> None:
    for name in ("samples", "events", "phases", "snapshots", "stacks", "requests"):
        path = folder / f"{name}.jsonl"
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            made = read(folder)
            assert judge(made).outcome == "inconclusive"
        path.write_bytes(whole)


def test_unreadable_lines_are_noted(folder: Path) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"t": 1.0, "kind"')
    assert "1 line(s) of events.jsonl could not be read" in [note.text for note in read(folder).notes]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (FORMAT + 1, "newer than this connleak can read"),
        (None, "has no format version"),
        (0, "which this connleak cannot read"),
    ],
)
def test_an_unknown_format_is_an_error(folder: Path, version: int | None, message: str) -> None:
    data = json.loads((folder / "plan.json").read_text())
    data["format"] = version
    (folder / "plan.json").write_text(json.dumps(data))
    with pytest.raises(Error, match=message):
        read(folder)


def test_a_folder_without_plan_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(Error, match="is not a recording"):
        read(tmp_path)


def test_a_damaged_plan_is_an_error_with_its_path(folder: Path) -> None:
    (folder / "plan.json").write_text('{"format": 1, "target": 5}')
    with pytest.raises(Error, match=r"plan\.json is damaged"):
        read(folder)


def test_a_recording_is_its_owners_only(folder: Path) -> None:
    assert folder.stat().st_mode & 0o077 == 0


def test_two_runs_in_one_second_get_two_folders(tmp_path: Path) -> None:
    made = {new_folder(tmp_path, "shop-buggy") for _ in range(3)}
    assert len(made) == 3
    point_latest(max(made))
    assert (tmp_path / "latest").resolve() == max(made).resolve()


def test_on_a_full_disk_only_phases_and_notes_are_written_and_nothing_raises_but_the_check(tmp_path: Path) -> None:
    with Writer(tmp_path / "run", plan(), Machine()) as writer:
        writer.append("samples", SampleLine(t=0.1, full=True, rows=(backend(1),)))
        writer.check()
        file = writer._files["samples"]
        with contextlib.suppress(OSError), Path("/dev/full").open("ab", buffering=1 << 16) as writer._files["samples"]:
            writer.append("samples", SampleLine(t=0.2))
        with contextlib.suppress(OSError):
            writer._files["samples"].raw.close()
        writer._files["samples"] = file
        writer.append("samples", SampleLine(t=0.3))
        with pytest.raises(Error, match=f"cannot write to {tmp_path}/run: No space left on device"):
            writer.check()
        assert writer._reserve.closed is False
        writer.append("notes", Note(0.4, NoteCode.OTHER, "no room"))
        assert writer._reserve.closed  # the reserve is for these
    made = read(tmp_path / "run")
    assert [sample.t for sample in made.samples] == [0.1]
    assert [note.text for note in made.notes] == ["no room"]


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match=r"cannot write to .*file/run: Not a directory"):
        Writer(tmp_path / "file" / "run", plan(), Machine())


def test_samples_between_which_nothing_changed_share_their_rows(folder: Path) -> None:
    with (folder / "samples.jsonl").open("a") as file:
        file.write('{"t":0.3}\n{"t":0.4}\n')
    made = read(folder)
    assert made.samples[1].backends is made.samples[2].backends is made.samples[3].backends


def test_nothing_stays_in_memory_of_what_was_written(tmp_path: Path) -> None:
    with Writer(tmp_path / "run", plan(), Machine()) as writer:
        writer.append("samples", SampleLine(t=0.0))
        gc.collect()
        before = len(gc.get_objects())
        for number in range(500):
            writer.append("samples", SampleLine(t=float(number)))
        gc.collect()
        assert len(gc.get_objects()) - before < 50


def test_a_thread_that_hung_until_after_the_end_stops_without_a_word(tmp_path: Path) -> None:
    with Writer(tmp_path / "run", plan(), Machine()) as writer:
        writer.append("notes", Note(0.1, NoteCode.OTHER, "before"))
    told: list[BaseException] = []
    late = Supervised(
        "sampler", lambda: writer.append("notes", Note(0.2, NoteCode.OTHER, "after")), lambda _, e: told.append(e)
    )
    late.start()
    late.join()
    writer.append("notes", Note(0.3, NoteCode.OTHER, "after"))
    assert not told and not late.failed and writer.failed is None
    assert [note.text for note in reader.read(tmp_path / "run").notes] == ["before"]


def test_samples_that_refer_to_more_sessions_than_memory_has_are_an_error(tmp_path: Path, monkeypatch) -> None:
    lines = [SampleLine(t=0.0, full=True, rows=tuple(backend(pid) for pid in range(1000)))]
    lines += [SampleLine(t=0.1 * n, rows=(backend(1, state="active" if n % 2 else "idle"),)) for n in range(1, 12)]
    with Writer(tmp_path / "run", plan(), Machine()) as writer:
        writer.append("samples", *lines)
    monkeypatch.setattr(delta, "MAX_ROWS", 12_000)
    assert len(reader.read(tmp_path / "run").samples) == 12
    monkeypatch.setattr(delta, "MAX_ROWS", 11_999)
    with pytest.raises(Error, match="more than 11,999 sessions"):
        reader.read(tmp_path / "run")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [("", None), ("10.0.0.1:7700", HostPort("10.0.0.1", 7700)), ("7700", HostPort("127.0.0.1", 7700)), ("x:y", None)],
)
def test_a_plan_of_format_1_is_read_by_its_former_names(folder: Path, stored: str, expected: HostPort | None) -> None:
    path = folder / "plan.json"
    raw = json.loads(path.read_text())
    for present, former in (("requests", "asks"), ("max_idle_connections", "budget")):
        del raw[present]
        raw[former] = {"asks": [{"method": "GET", "path": "/a", "name": "/a"}], "budget": 7}[former]
    path.write_text(json.dumps({**raw, "format": 1, "listen": stored}))
    found = reader.read_plan(folder)
    assert [request.path for request in found.requests] == ["/a"]
    assert (found.max_idle_connections, found.listen) == (7, expected)
