"""Downsampling of a long recording keeps the start and the end of each session."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from connleak.collectors.sampler import Sampler
from connleak.databases.server import Reading
from connleak.model.recording import Backend, Machine
from connleak.recording import downsampling
from connleak.recording.downsampling import CheckoutFilter, full_interval, sample_interval, window_length
from connleak.recording.format import EventLine
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from support.builders import backend
from support.plans import plan


def test_every_sample_of_ten_minutes_is_kept_then_fewer_and_one_in_three_seconds_at_least() -> None:
    assert sample_interval(0.1, 599) == 0.1
    assert sample_interval(0.1, 6000) == 1.0
    assert sample_interval(0.1, 1e6) == 3.0
    assert sample_interval(5.0, 1e6) == 5.0
    assert sample_interval(0.1, 1e6, window=10.0) == 1.0  # ten for each window


def test_whole_rows_and_windows_become_rarer() -> None:
    assert (full_interval(100), full_interval(10_000)) == (5.0, 100.0)
    assert [window_length(60, t) for t in (0, 6000, 12_000, 1e6)] == [60, 60, 120, 600]


class Server:
    """A reader of sessions that start, change their state and end, with its own clock."""

    def __init__(self) -> None:
        self.t = 0.0
        self.dice = random.Random(3)
        self.sessions: dict[int, Backend] = {}
        self.opened: dict[int, float] = {}
        self.closed: dict[int, float] = {}

    def read(self, *, full: bool) -> Reading:
        before = dict(self.sessions)
        if self.dice.random() < 0.02 or not self.sessions:
            pid = 1000 + len(self.opened)
            self.sessions[pid] = backend(pid)
            self.opened[pid] = self.t
        if self.dice.random() < 0.02 and len(self.sessions) > 1:
            pid = self.dice.choice(list(self.sessions))
            del self.sessions[pid]
            self.closed[pid] = self.t
        for pid in list(self.sessions):
            state = self.dice.choice(("idle", "active", "idle in transaction"))
            self.sessions[pid] = backend(pid, state=state, since=self.t)
        changed = {pid for pid in self.sessions if before.get(pid) != self.sessions[pid]}
        return Reading(t=self.t, backends=dict(self.sessions), changed=None if full else frozenset(changed))

    def close(self) -> None:
        pass


def sampled(folder: Path, monkeypatch: pytest.MonkeyPatch, *, thins: bool, seconds: float) -> Server:
    server = Server()
    monkeypatch.setattr("connleak.collectors.sampler.time.monotonic", lambda: server.t)
    with Writer(folder, plan(), Machine()) as writer:
        sampler = Sampler(server, writer, 0.0, 0.1)
        sampler.thins = thins
        while server.t < seconds:
            sampler._sample()
            server.t = round(server.t + 0.1, 1)
    monkeypatch.undo()
    return server


def test_no_opening_and_closing_is_left_out_and_what_is_kept_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downsampling, "FULL_RATE", 10.0)
    server = sampled(tmp_path / "thin", monkeypatch, thins=True, seconds=300.0)
    monkeypatch.setattr(downsampling, "FULL_RATE", 10.0)
    sampled(tmp_path / "whole", monkeypatch, thins=False, seconds=300.0)
    thin, whole = read(tmp_path / "thin").samples, read(tmp_path / "whole").samples
    assert len(whole) == 3000
    assert len(thin) < 1000
    rows = {sample.t: set(sample.backends) for sample in whole}
    assert all(set(sample.backends) == rows[sample.t] for sample in thin)
    first = {}
    last = {}
    for sample in thin:
        for row in sample.backends:
            first.setdefault(row.pid, sample.t)
            last[row.pid] = sample.t
    seen = {pid: t for pid, t in server.opened.items() if server.closed.get(pid) != t}
    assert len(seen) > 40 and first == seen
    after = {pid: min(sample.t for sample in thin if sample.t > last[pid]) for pid in server.closed if pid in seen}
    assert after == {pid: t for pid, t in server.closed.items() if pid in seen}


def test_the_recording_states_the_interval_that_downsampling_intends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downsampling, "FULL_RATE", 10.0)
    sampled(tmp_path / "whole", monkeypatch, thins=False, seconds=60.0)
    assert {sample.interval for sample in read(tmp_path / "whole").samples if sample.t < 10.0} == {None}
    monkeypatch.setattr(downsampling, "FULL_RATE", 10.0)
    sampled(tmp_path / "thin", monkeypatch, thins=True, seconds=60.0)
    for before, sample in pairwise(read(tmp_path / "thin").samples):
        intended = sample.interval or 0.1
        assert sample.t - before.t <= intended + 0.1
        assert intended == pytest.approx(max(0.1, 0.1 * sample.t / 10.0), abs=0.001)


def test_the_first_sample_after_a_load_states_the_pause_that_downsampling_left_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    server.dice.random = lambda: 0.5  # type: ignore[method-assign] # one session, which stays
    monkeypatch.setattr("connleak.collectors.sampler.time.monotonic", lambda: server.t)
    with Writer(tmp_path / "run", plan(), Machine()) as writer:
        sampler = Sampler(server, writer, 0.0, 0.1)
        sampler.thins = True
        for server.t in (5999.0, 6000.0, 6000.5):
            sampler._sample()
        sampler.thins = False
        for server.t in (6000.6, 6000.7):
            sampler._sample()
    monkeypatch.undo()
    samples = read(tmp_path / "run").samples
    assert [sample.t for sample in samples] == [5999.0, 6000.0, 6000.6, 6000.7]
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line).get("interval") for line in lines] == [1.0, 1.0, 1.0, None]


def pair(number: int, t: float, seconds: float, **facts: object) -> list[EventLine]:
    checkout = EventLine(t, "checkout", 7, checkout=number)
    return [checkout, EventLine(t + seconds, "checkin", 7, checkout=number, **facts)]


def test_of_many_checkouts_those_returned_at_once_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(downsampling, "MAX_EVENTS", 4)
    checkouts = CheckoutFilter()
    few = pair(1, 0.0, 0.1) + pair(2, 0.2, 0.1)
    assert checkouts.keep(few, 1.0) == few and checkouts.since is None
    slow, collected = pair(4, 2.0, 1.5), pair(5, 2.0, 0.1, gc=True)
    opened = EventLine(2.0, "connect", 7, backend=9)
    rows = sorted(pair(3, 2.0, 0.1) + slow + collected + [opened], key=lambda row: row.t)
    kept = checkouts.keep(rows, 3.6)
    assert [row.t for row in kept] == sorted(row.t for row in kept)
    assert {(row.t, row.kind, row.checkout) for row in kept} == {
        (row.t, row.kind, row.checkout) for row in (*slow, *collected, opened)
    }
    assert (checkouts.left_out, checkouts.since) == (1, 3.6)


def test_a_checkout_that_stays_out_is_written_a_second_later_or_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downsampling, "MAX_EVENTS", 1)
    checkouts = CheckoutFilter()
    first, _ = pair(1, 0.1, 9.0)
    second, back = pair(2, 0.9, 9.0)
    assert checkouts.keep([first, second], 1.0) == []
    assert checkouts.keep([], 1.5) == [first]
    assert checkouts.outstanding() == [second]
    assert checkouts.keep([back], 10.0) == [back]
