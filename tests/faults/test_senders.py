"""The probe's sending thread: there are never two, and the silence of one that ended is reported."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from connleak.collectors.probe_collector import Collector
from connleak.model.recording import Machine
from connleak.probe import ENTRY
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from support.plans import plan
from support.poll import wait_until

HEAD = """
import ctypes, os, sys, threading, time
probe = sys.modules["_connleak_probe"]
sender, transport, state = probe.sender, probe.transport, probe.state


def senders():
    return len(os.listdir("/proc/self/task")) - 1


def kill():
    "End the sending thread by an error, as a bug of the probe would."
    [thread] = set(sys._current_frames()) - {threading.get_ident()}
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(MemoryError))


"""
TAIL = "\nprint('ready', flush=True)\nsys.stdin.read()\n"


@contextlib.contextmanager
def process(folder: Path, script: str, *words: str) -> Iterator[tuple[Collector, list[str]]]:
    """Run a script with the probe; yield the collector and the lines that were printed before `ready`."""
    with (
        Writer(folder / "run", plan(), Machine()) as writer,
        Collector(writer, folder, time.monotonic(), folder) as collector,
    ):
        env = {**os.environ, **collector.environment(), "PYTHONPATH": str(ENTRY)}
        (folder / "app.py").write_text(HEAD + textwrap.dedent(script) + TAIL)
        argv = [sys.executable, "app.py", *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(argv, cwd=folder, env=env, text=True, **pipes) as child:
            assert child.stdout is not None
            printed = []
            while (output := child.stdout.readline().strip()) != "ready":
                assert output, "it ended too early"
                printed.append(output)
            yield collector, printed


SLOW = """
sender.start()
original = transport.send

def slow(message):
    time.sleep(0.3)
    return original(message)

transport.send = slow
most = 0
for number in range(15):
    state.note("fork %d" % number)
    time.sleep(0.12)
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    for _ in range(5):
        most = max(most, senders())
        time.sleep(0.01)
transport.send = original
print(most)
"""


def test_a_fork_while_the_sender_is_busy_leaves_one_sender_that_goes_on(tmp_path: Path) -> None:
    with process(tmp_path, SLOW) as (collector, printed):
        assert printed == ["1"], "more than one thread of the probe's was seen"

        def forks() -> list[str]:
            return [event.detail for event in read(tmp_path / "run").events if event.kind == "note"]

        wait_until(lambda: len(forks()) >= 15, "all events arrive")
        assert sorted(forks()) == sorted(f"fork {number}" for number in range(15))
        [process_row] = collector.snapshot("test", 1).processes
        assert process_row.answered


@pytest.mark.parametrize(("times", "answered"), [(1, True), (2, False)])
def test_a_sender_that_dies_begins_anew_once_and_then_its_process_is_one_that_does_not_answer(
    tmp_path: Path, times: int, answered: bool
) -> None:
    script = f"""
    sender.start()
    for _ in range({times}):
        time.sleep(0.3)
        kill()
    time.sleep(0.3)
    """
    with process(tmp_path, script) as (collector, _):
        wait_until(lambda: [peer for peer in collector.living() if peer.armed], "it is there")
        [process_row] = collector.snapshot("test", 1, timeout=1.0).processes
        assert process_row.answered is answered


def test_a_hundred_forked_processes_are_forgotten_when_they_have_ended(tmp_path: Path) -> None:
    script = """
    sender.start()
    for _ in range(100):
        if os.fork() == 0:
            os._exit(0)
        os.wait()
    """
    with process(tmp_path, script) as (collector, _):
        wait_until(lambda: len([e for e in read(tmp_path / "run").events if e.kind == "bye"]) == 100, "all have ended")
        assert [
            len(collector.living()),
            len(collector.connections._by_channel),
            len(collector.connections._by_pid),
        ] == [1, 1, 1]
        [process_row] = collector.snapshot("test", 1).processes
        assert process_row.answered


def test_what_is_no_utf8_in_a_command_or_a_file_is_told_with_a_mark_in_its_place(tmp_path: Path) -> None:
    script = """
    code = compile("def opens():\\n    return sys._getframe(0)\\n", "/srv/caf\\udce9.py", "exec")
    exec(code, globals())
    found = probe.stacks.capture(opens())
    sender.start()
    state.emit(state.current(), "pool", pool=1, frames=found)
    """
    with process(tmp_path, script, os.fsdecode(b"caf\xe9")) as (collector, _):
        wait_until(
            lambda: [event for event in read(tmp_path / "run").events if event.kind == "pool"], "the event arrives"
        )
        [event] = [event for event in read(tmp_path / "run").events if event.kind == "pool"]
        assert event.site is not None and event.site.file == "/srv/caf?.py"
        [peer] = collector.living()
        assert peer.command.endswith(" caf?")


@pytest.mark.parametrize("at", ["first", "fork"])
@pytest.mark.parametrize("what", ["os.pipe", "sender.start_new_thread"])
def test_without_a_descriptor_or_a_thread_for_the_sender_nothing_is_written_into_files_of_the_apps(
    tmp_path: Path, at: str, what: str
) -> None:
    holder, name = what.split(".")
    script = f"""
    original = {what}

    def fails(*_):
        {holder}.{name} = original
        raise OSError(24, "Too many open files")

    def fork():
        if os.fork() == 0:
            os._exit(0)
        os.wait()

    if "{at}" == "fork":
        sender.start()
        time.sleep(0.2)
    {holder}.{name} = fails
    if "{at}" == "first":
        sender.start()
    else:
        fork()
    if {holder}.{name} is fails:  # it has not been called since
        {holder}.{name} = original
    files = [open("file%d" % number, "w+b", buffering=0) for number in range(20)]
    state.note("one")
    sender.snapshot_at_first_exhaustion(state.current(), "a test")
    for _ in range(3):
        fork()
        time.sleep(0.1)
    print([os.fstat(file.fileno()).st_size for file in files if os.fstat(file.fileno()).st_size])
    print(senders())
    """
    with process(tmp_path, script) as (collector, printed):
        assert printed == ["[]", "1"], "no file has bytes of the probe, and there is one sender"
        [process_row] = collector.snapshot("test", 1).processes
        assert process_row.answered


def test_where_no_fork_comes_the_next_event_tries_again_to_start_the_sender(tmp_path: Path) -> None:
    script = """
    original = os.pipe

    def fails():
        os.pipe = original
        raise OSError(24, "Too many open files")

    os.pipe = fails
    sender.start()
    print(senders())
    time.sleep(0.6)
    sender.flush_overdue()  # as an event after `due` does
    print(senders())
    """
    with process(tmp_path, script) as (collector, printed):
        assert printed == ["0", "1"]
        [process_row] = collector.snapshot("test", 1).processes
        assert process_row.answered
