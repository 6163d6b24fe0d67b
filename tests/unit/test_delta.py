"""The sample codec: what is encoded is decoded, in small lines, and each sample has its intended interval."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
from connleak.judging.audit import sampler_kept_up
from connleak.judging.facts import Facts
from connleak.model.plan import FORMAT
from connleak.model.recording import Event, Machine, Sample
from connleak.recording import delta
from connleak.recording.format import EventLine, SampleLine
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from support.builders import backend, plan

SOURCE = Path("samples.jsonl")


def history(count: int) -> list[Sample]:
    """Return samples whose sessions open, change and close, with counters and locks that change rarely."""
    dice = random.Random(11)
    sessions = {}
    samples = []
    for number in range(count):
        for pid in range(1, 8):
            step = dice.random()
            if step < 0.1:
                sessions.pop(pid, None)
            elif step < 0.4:
                sessions[pid] = backend(pid, state=dice.choice(("idle", "active")), since=number / 10)
        counters = {"sessions": float(number // 20)}
        locks = (7,) if number >= 25 else ()
        samples.append(
            Sample(number / 10, tuple(sessions.values()), counters, 0.001, locks, 1.5 if number > 50 else None)
        )
    return samples


def encoded(samples: list[Sample], full_each: int) -> list[SampleLine]:
    encoder = delta.Encoder()
    return [encoder.encode(sample, full=number % full_each == 0) for number, sample in enumerate(samples)]


def by_pid(sample: Sample) -> Sample:
    return msgspec.structs.replace(sample, backends=tuple(sorted(sample.backends, key=lambda row: row.pid)))


def test_what_is_encoded_is_decoded() -> None:
    samples = history(100)
    for full_each in (7, 1000):
        decoded = list(delta.decode(encoded(samples, full_each), SOURCE))
        assert [by_pid(sample) for sample in decoded] == [by_pid(sample) for sample in samples]


def test_a_line_holds_only_what_changed() -> None:
    first = Sample(0.1, (backend(1), backend(2)), {"sessions": 2.0}, 0.001, (2,))
    second = Sample(0.2, (backend(2), backend(3)), {"sessions": 2.0}, 0.001, (2,))
    lines = encoded([first, second, msgspec.structs.replace(second, t=0.3)], 1000)
    assert lines[0].full and lines[0].rows == first.backends
    assert lines[1] == SampleLine(t=0.2, rows=(backend(3),), gone=(1,), cost=0.001)
    assert msgspec.json.encode(lines[2]) == b'{"t":0.3,"cost":0.001}'


def test_a_full_line_is_complete_after_damaged_lines() -> None:
    samples = history(40)
    lines = encoded(samples, 10)
    last = list(delta.decode(lines[30:], SOURCE))[-1]
    assert by_pid(last) == by_pid(samples[-1])


def test_rows_that_cannot_have_changed_are_not_compared() -> None:
    encoder = delta.Encoder()
    encoder.encode(Sample(0.1, (backend(1), backend(2))), full=True)
    changed = tuple(backend(pid, state="active") for pid in (1, 2, 3))
    assert [row.pid for row in encoder.encode(Sample(0.2, changed), changed={1}).rows] == [1, 3]


def sampled(folder: Path, intervals: list[float | None], version: int = FORMAT) -> Facts:
    """Return the facts of samples three seconds apart after an hour of load, with the intervals that they state."""
    with Writer(folder, plan(format=version), Machine()) as writer:
        lines = [SampleLine(t=3600.0 + 3 * n, full=True, interval=stated) for n, stated in enumerate(intervals)]
        writer.append("samples", *lines)
    return Facts(read(folder))


def test_a_pause_is_judged_by_the_interval_that_the_recording_states(tmp_path: Path) -> None:
    assert sampler_kept_up(sampled(tmp_path / "kept up", [2.9, 2.9, 2.9])).outcome == "clean"
    late = sampled(tmp_path / "late", [2.9, 0.5, 2.9])
    assert (late.interval(late.recording.samples[1]), sampler_kept_up(late).outcome) == (0.5, "inconclusive")


def test_in_format_1_the_interval_that_no_line_states_follows_from_the_time(tmp_path: Path) -> None:
    old = sampled(tmp_path / "old", [None, None], version=1)
    assert [old.interval(sample) for sample in old.recording.samples] == [0.1 * 3600 / 600, 0.1 * 3603 / 600]


def test_an_event_is_stored_with_the_number_of_its_stack_and_otherwise_as_it_is() -> None:
    stored = [name for name in EventLine.__struct_fields__ if name != "at"]
    assert stored == [name for name in Event.__struct_fields__ if name not in ("site", "stack")]
