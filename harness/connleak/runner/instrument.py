"""A command with the probe and nothing else: no load, no server looked at, no process of ours in between but one.

Whom it tells: a folder here, where a holder table is written when one asks (`connleak holders`, SIGUSR2) or when the
first caller is turned away; or a collector on another host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from connleak import __version__
from connleak.collectors.framing import host_and_port, need_secret
from connleak.collectors.probe_collector import Collector
from connleak.collectors.relay_client import Relay
from connleak.judging.holders import rows_of
from connleak.model.errors import Error
from connleak.model.plan import Database, Phases, Plan
from connleak.model.verdict import Table
from connleak.probe import ENTRY
from connleak.processes.supervisor import Keeper
from connleak.processes.threads import stopped
from connleak.recording.reader import PhaseLine
from connleak.recording.writer import Writer
from connleak.runner.control import Control
from connleak.runner.machine import machine

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGWINCH)
TICK = 0.1
LIVES_ON = ("snapshots", "stacks", "phases", "notes")
"""What is written of an app that runs for weeks: not its events."""


def plan_of(command: Sequence[str], probe: str) -> Plan:
    """Returns the plan of a command that is only watched from inside."""
    return Plan(
        kind="probe",
        target="probe",
        variant=Path(command[0]).name,
        app=" ".join(command),
        cwd=str(Path.cwd()),
        url="",
        scenario="",
        users=0,
        phases=Phases(),
        cycles=0,
        database=Database(source="none"),
        probe=probe,
        load="none",
        tool_version=__version__,
    )


def run_here(command: Sequence[str], folder: Path, probe: str, begun: Callable[[], None]) -> int:
    """Runs the command with a probe that writes holder tables into `folder`; returns its exit code.

    `begun` is called when it may be known that the process can be asked.
    """
    plan = plan_of(command, probe)
    with contextlib.ExitStack() as parts:
        asked = parts.enter_context(signals())
        writer = parts.enter_context(Writer(folder, plan, machine(), only=LIVES_ON))
        keeper = parts.enter_context(Keeper())
        collector = parts.enter_context(Collector(writer, keeper.scratch, time.monotonic(), Path.cwd()))
        writer.append("phases", PhaseLine(collector.now(), "probe", 0, {}))

        def snapshot() -> Table:
            taken = collector.snapshot("asked", 0)
            writer.append("snapshots", taken)
            return Table("now", taken.t, "", rows_of(taken, {}))

        def tell(thread: str, error: BaseException) -> None:
            writer.append("notes", stopped(collector.now(), thread, error))

        parts.enter_context(Control(folder, keeper.scratch, snapshot, tell))
        begun()
        child = start(command, collector.environment(plan))
        written = False
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return code_of(child.wait(TICK))
            if asked:
                asked.clear()
                snapshot()
            if collector.frozen and not written:
                written = True
                writer.append("snapshots", collector.frozen_snapshot(0))


def run_for(command: Sequence[str], address: str, name: str) -> int:
    """Runs the command with a probe that speaks with a collector on another host; returns its exit code.

    Raises Error when there is no such collector: what to do then is for who starts it to say.
    """
    secret = need_secret()
    with Keeper() as keeper, Relay(keeper.scratch, host_and_port(address), secret, name) as relay, signals():
        return code_of(start(command, relay.environment()).wait())


def start(command: Sequence[str], told: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts the command as our child, with our terminal; signals that we get are passed on to it."""
    path = os.pathsep.join(filter(None, [str(ENTRY), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, **told, "PYTHONPATH": path}
    environment.pop("CONNLEAK_SECRET", None)
    try:
        child = subprocess.Popen(list(command), env=environment)
    except OSError as error:
        raise Error(
            f"{command[0]} cannot be started: {error.strerror}", "connleak probe -- COMMAND", exit_code=4
        ) from None

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    return child


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Yields a list that is no longer empty once SIGUSR2 has come; afterwards all signals are as they were."""
    before = {number: signal.getsignal(number) for number in (*PASSED_ON, signal.SIGUSR2)}
    asked: list[int] = []
    signal.signal(signal.SIGUSR2, lambda *_: asked.append(1))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def code_of(status: int) -> int:
    """Returns a shell's exit code of a child: 128 and the signal's number where one ended it."""
    return status if status >= 0 else 128 - status
