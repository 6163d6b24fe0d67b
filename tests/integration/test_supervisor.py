"""No child outlives connleak: it is stopped with its family, and killed if connleak is killed by SIGKILL."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from connleak.model.errors import Error
from connleak.processes.ports import first_outgoing_port, free_port
from connleak.processes.supervisor import Supervisor, child_error, last_lines, wait_until_ready
from support.poll import wait_until
from support.sleepers import FAMILY, MINE, SEGMENT, segments, sleepers


def sh(supervisor: Supervisor, script: str):
    return supervisor.start(
        "a shell", ["sh", "-c", script], cwd=Path("/"), env=dict(os.environ), log=supervisor.scratch / "log"
    )


def test_leaving_ends_every_descendant_also_those_with_a_session_of_their_own() -> None:
    with Supervisor() as supervisor:
        sh(supervisor, FAMILY)
        wait_until(lambda: len(sleepers()) == 5, "the family is up")
        scratch = supervisor.scratch
        assert scratch.exists()
    assert sleepers() == []
    assert not scratch.exists()


def test_a_child_that_ignores_the_signal_is_killed_after_its_grace(supervisor: Supervisor) -> None:
    child = sh(supervisor, f"trap '' TERM; sleep {MINE} & while true; do wait; done")
    wait_until(lambda: sleepers(), "it is up")
    assert supervisor.stop(child, grace=0.3) == -signal.SIGKILL
    wait_until(lambda: not sleepers(), "its child is gone too")


def test_exit_codes_and_last_lines_are_reported(supervisor: Supervisor) -> None:
    child = sh(supervisor, "echo first; echo last; exit 7")
    wait_until(lambda: supervisor.exit_code(child) is not None, "it ended")
    assert supervisor.exit_code(child) == 7
    assert last_lines(child.log) == ["first", "last"]
    assert "exit code 7" in child_error(child, "it ended with exit code 7").message


def test_a_missing_program_is_reported(supervisor: Supervisor) -> None:
    with pytest.raises(Error, match="no-such-program"):
        supervisor.start("it", ["no-such-program"], cwd=Path("/"), env={}, log=supervisor.scratch / "log")


def test_a_child_that_ends_before_it_is_ready_is_reported_with_its_log(supervisor: Supervisor) -> None:
    child = sh(supervisor, "echo no such module >&2; exit 3")
    with pytest.raises(Error, match=r"exit code 3 before it was ready(.|\n)*no such module"):
        wait_until_ready(supervisor, child, lambda: False, timeout=5)


def test_after_sigkill_nothing_is_left() -> None:
    script = f"""
import os, sys, time
from pathlib import Path
from connleak.processes.supervisor import Supervisor
with Supervisor() as supervisor:
    supervisor.start("a", ["sh", "-c", {FAMILY!r}], cwd=Path("/"), env=dict(os.environ), log=supervisor.scratch / "log")
    print(supervisor.scratch, flush=True)
    time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as runner:
        try:
            assert runner.stdout is not None
            scratch = Path(runner.stdout.readline().strip())
            wait_until(lambda: len(sleepers()) == 5, "the family is up")
        finally:
            runner.kill()
    wait_until(lambda: not sleepers(), "the family is gone")
    wait_until(lambda: not scratch.exists(), "the scratch folder is gone")


def test_shared_memory_of_a_killed_child_is_removed_and_no_other() -> None:
    with Supervisor() as supervisor:
        child = sh(supervisor, f"exec {shlex.quote(sys.executable)} -c '{SEGMENT}'")
        other = subprocess.run([sys.executable, "-c", SEGMENT], capture_output=True, text=True, check=False)
        wait_until(lambda: supervisor.exit_code(child) is not None, "it ended")
        mine = child.log.read_text().strip()
        assert {mine, other.stdout.strip()} <= segments()
    assert mine not in segments()
    assert other.stdout.strip() in segments()
    subprocess.run(["ipcrm", "-m", other.stdout.strip()], check=True)


def test_the_end_of_a_killed_supervisor_is_reported_and_connleak_cleans_up() -> None:
    with pytest.raises(Error, match=r"supervisor process, .* was ended by SIGKILL"), Supervisor() as supervisor:
        sh(supervisor, FAMILY)
        wait_until(lambda: len(sleepers()) == 5, "the family is up")
        memory, scratch = supervisor.scratch_in_memory("data"), supervisor.scratch
        supervisor._process.kill()
        supervisor._process.wait()
        supervisor.check()
        supervisor._request({"op": "remove", "path": "/nowhere"})
    assert sleepers() == []
    assert not scratch.exists() and not memory.exists()


def test_a_needed_child_is_reported_when_it_ends_unless_it_was_stopped(supervisor: Supervisor) -> None:
    child, stopped = sh(supervisor, "sleep 0.2; echo gone; exit 7"), sh(supervisor, f"sleep {MINE}")
    supervisor.need(child)
    supervisor.need(stopped)
    supervisor.check()
    supervisor.stop(stopped)
    wait_until(lambda: supervisor.exit_code(child) is not None, "it ended")
    with pytest.raises(Error, match=r"a shell ended with exit code 7(.|\n)*gone"):
        supervisor.check()


def test_free_ports_differ_and_are_outside_the_range_of_outgoing_connections() -> None:
    ports = {free_port() for _ in range(500)}
    assert len(ports) == 500
    assert max(ports) < first_outgoing_port()


def some_ports() -> list[int]:
    return [free_port() for _ in range(5)]


def test_forked_processes_are_not_given_the_same_ports() -> None:
    fork = multiprocessing.get_context("fork")
    with fork.Pool(1) as one, fork.Pool(1) as other:  # as the jobs of a corpus are
        assert one.apply(some_ports) != other.apply(some_ports)
