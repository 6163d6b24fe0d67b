"""What observes is observed: a thread of ours that stops, or a sampler that stops early, is never taken for calm."""

from __future__ import annotations

import ast
import threading
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import connleak
import msgspec
import pytest
from connleak.collectors.sampler import Sampler
from connleak.databases.postgres.docker import follow
from connleak.databases.server import NotAnswering, Reading
from connleak.judging import judge
from connleak.model.errors import Error
from connleak.model.recording import HOST, Event, Machine, Note, NoteCode, Phase, Process, Recording, Sample, Snapshot
from connleak.processes.threads import Supervised, stopped
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from support.builders import SITE, backend, idle, leaking, pool, recording
from support.plans import plan
from support.poll import wait_until
from support.verdicts import check

SUPERVISED = {
    "collector",
    "sampler",
    "control",
    "relay",
    "relay's ports",
    "container's log",
    "parent's end",
    "document timeout",
}
"""Each has a test that ends it by an error: here, in tests/faults/test_threads.py, in tests/faults/test_relay.py."""


def clean_run() -> Recording:
    return recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)


def clean_watch() -> Recording:
    windows = [Phase("watch", k, 1 + 5.0 * (k - 1), 1 + 5.0 * k) for k in (1, 2, 3)]
    facts = {"max_connections": 100, "reserved": 3, "own_database": False}
    phases = (Phase("start", 0, 0.0, 0.5), Phase("baseline", 0, 0.5, 1.0, facts), *windows)
    rows = (backend(1),)
    snapshots = tuple(
        Snapshot(t=t, label="watch", cycle=window.cycle, pools=(pool(idle=(1,)),),
                 processes=(Process(process=100, probe=True, armed=True),))
        for window in windows for t in (window.begin, window.end or 0.0)
    )  # fmt: skip
    return Recording(
        folder="/nowhere",
        plan=plan(kind="watch", window=5.0, load="none", url="", app="", sample_every=0.5), machine=Machine(),
        phases=phases, samples=tuple(Sample(t / 2, rows) for t in range(33)), snapshots=snapshots,
    )  # fmt: skip


@pytest.mark.parametrize("made", [clean_run, clean_watch])
def test_a_sampler_that_stops_before_the_end_leaves_nothing_that_could_be_called_clean(made) -> None:
    whole = made()
    assert judge(whole).outcome == "clean", judge(whole).sentence
    last = whole.samples[-1].t
    early = msgspec.structs.replace(whole, samples=tuple(s for s in whole.samples if s.t < last - 3.5))
    verdict = judge(early)
    assert (verdict.outcome, check(verdict, "sampler").outcome) == ("inconclusive", "inconclusive")
    assert f"from {early.samples[-1].t:.1f} s on" in check(verdict, "sampler").detail


def with_stop(made: Recording) -> Recording:
    note = stopped(12.1, "collector", RecursionError("maximum recursion depth exceeded"))
    return msgspec.structs.replace(made, notes=(note,))


@pytest.mark.parametrize("made", [clean_run, clean_watch])
def test_a_thread_that_an_error_ended_makes_a_run_inconclusive_and_is_named(made) -> None:
    verdict = judge(with_stop(made()))
    assert verdict.outcome == "inconclusive"
    assert "collector stopped at 12.1 s (RecursionError: maximum" in verdict.sentence


def test_a_leak_that_was_proven_stays_one() -> None:
    verdict = judge(with_stop(leaking([2, 4, 6])))
    assert (verdict.outcome, check(verdict, "threads").outcome) == ("leak", "inconclusive")


def test_a_session_of_a_host_whose_relay_is_gone_is_nobodys_only_as_far_as_we_know() -> None:
    there = HOST + 100
    whole = clean_watch()
    snapshots = tuple(
        msgspec.structs.replace(
            snapshot,
            pools=tuple(msgspec.structs.replace(found, process=there) for found in snapshot.pools),
            processes=(Process(process=there, host="web1", probe=True, armed=True),),
        )
        if snapshot.t < 8
        else msgspec.structs.replace(snapshot, pools=(), processes=())
        for snapshot in whole.snapshots
    )
    opened = Event(1.2, "connect", there, backend=1, site=SITE, stack=(SITE,))
    events = (opened, Event(8.0, "bye", there))
    verdict = judge(msgspec.structs.replace(whole, events=events, snapshots=snapshots))
    assert verdict.outcome == "inconclusive", verdict.sentence
    assert "process 100 of host 1 disconnected" in check(verdict, "orphaned").detail


def test_words_in_a_note_decide_nothing() -> None:
    note = Note(1.0, NoteCode.OTHER, "connleak's collector stopped at 1.0 s (a process called itself so)")
    made = msgspec.structs.replace(clean_run(), notes=(note,))
    assert check(judge(made), "threads").outcome == "clean"


def test_every_thread_of_ours_is_supervised_and_has_a_test_that_ends_it() -> None:
    names = set()
    package = Path(connleak.__file__).parent
    for path in package.rglob("*.py"):
        if "probe" in path.relative_to(package).parts:
            continue  # its thread is native, and in the app
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called.rpartition(".")[2] not in ("Thread", "Timer", "start_new_thread"), path
            if called == "Supervised":
                names.add(ast.literal_eval(node.args[0]))
    assert names == SUPERVISED


def test_a_supervised_thread_tells_of_any_exception() -> None:
    told = []
    for kind in (ValueError, MemoryError, SystemExit, KeyboardInterrupt):

        def fail(kind: type[BaseException] = kind) -> None:
            raise kind("why")

        thread = Supervised("x", fail, lambda name, error: told.append((name, type(error))))
        thread.start()
        thread.join()
        assert thread.failed
    assert [kind for _, kind in told] == [ValueError, MemoryError, SystemExit, KeyboardInterrupt]


class Container:
    """A container whose log breaks while it lives, or ends with it."""

    def __init__(self, status: str) -> None:
        self.status = status

    def logs(self, **_: object):
        yield b"LOG: ready\n"
        raise ConnectionError("the engine was restarted")

    def reload(self) -> None:
        pass


@pytest.mark.parametrize(("status", "told"), [("running", ["container's log"]), ("exited", [])])
def test_a_containers_log_that_breaks_while_it_runs_is_told(tmp_path: Path, status: str, told: list[str]) -> None:
    supervisor = SimpleNamespace(stopped=deque())
    follow(supervisor, Container(status), tmp_path / "log")
    for thread in threading.enumerate():
        if thread.name == "container's log":
            thread.join()
    assert [name for name, _ in supervisor.stopped] == told
    assert (tmp_path / "log").read_bytes() == b"LOG: ready\n"


class Broken:
    """A server of whose readings some cannot be read: those with these numbers."""

    def __init__(self, *broken: int) -> None:
        self.broken = broken
        self.number = self.closed = 0

    def read(self, *, full: bool) -> Reading:
        self.number += 1
        if self.number in self.broken:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return Reading(time.monotonic(), {}, None)

    def close(self) -> None:
        self.closed += 1


def sampled(folder: Path, reader: Broken, until: int) -> list[Note]:
    with Writer(folder, plan(), Machine()) as writer, Sampler(reader, writer, time.monotonic(), 0.01) as sampler:
        wait_until(lambda: reader.number >= until, f"{until} reads")
        assert sampler.taken
    return list(read(folder).notes)


def test_a_reading_that_cannot_be_read_is_counted_and_borne(tmp_path: Path) -> None:
    reader = Broken(5)
    first, *_, last = sampled(tmp_path / "run", reader, 20)
    assert reader.closed == 2, "it connects anew after the failure, and closes at the end"
    assert "UnicodeDecodeError" in first.text and first.code == NoteCode.READ_FAILED
    assert last.facts.failures == 1
    assert not [note for note in read(tmp_path / "run").notes if note.code == NoteCode.SERVER_UNREACHABLE]


def test_readings_that_cannot_be_read_one_after_the_other_are_a_server_that_does_not_answer(tmp_path: Path) -> None:
    notes = sampled(tmp_path / "run", Broken(5, 6, 7, 8), 20)
    assert len([note for note in notes if note.code == NoteCode.SERVER_UNREACHABLE]) == 1
    assert notes[-1].facts.failures == 4


def test_a_server_whose_first_reading_cannot_be_read_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Error, match="cannot be read") as error:
        sampled(tmp_path / "run", Broken(1), 20)
    assert error.value.hint and isinstance(error.value.__cause__, NotAnswering)
