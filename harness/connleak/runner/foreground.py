"""A command with the probe, in the foreground: it has connleak's terminal, and signals are passed on to it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.probe import ENTRY
from connleak.processes.app import RemoteApp
from connleak.processes.supervisor import Supervisor
from connleak.runner.session import Session, take_snapshot

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGWINCH)
TICK = 0.1


class ForegroundApp(RemoteApp):
    """The command in the foreground; it is not the supervisor's child, and its processes are not observed."""

    def __init__(self, _: Supervisor, plan: Plan, __: Path, environment: Mapping[str, str]) -> None:
        self._command = shlex.split(plan.app)
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._child = start(self._command, self._environment)
        return self

    def exit_code(self, seconds: float) -> int | None:
        """Return the command's exit code; None if it has none within some seconds."""
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return code_of(self._child.wait(seconds))
        return None


class UntilExit:
    """A schedule without phases: it ends with the command, and snapshots are taken on request."""

    def walk(self, session: Session) -> int:
        """Wait for the command; write a snapshot on SIGUSR2 and at the first pool timeout."""
        app = session.app
        assert isinstance(app, ForegroundApp)
        session.begin("probe", 0)
        while (code := app.exit_code(TICK)) is None:
            session.journal.note_stopped_threads()
            if session.callbacks.snapshot_requested():
                take_snapshot(session, "asked", 0)
            if session.probes.first_exhaustion and not session.exhaustion_seen:
                session.exhaustion_seen = True
                take_snapshot(session, "exhausted", 0)
        return code


def start(command: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the command with the probe and connleak's terminal; from now on, signals are passed on to it."""
    path = os.pathsep.join(filter(None, [str(ENTRY), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, **variables, "PYTHONPATH": path}
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
def own_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGUSR2 came since its last call; restore all handlers at the end."""
    before = {number: signal.getsignal(number) for number in (*PASSED_ON, signal.SIGUSR2)}
    requests: list[int] = []
    signal.signal(signal.SIGUSR2, lambda *_: requests.append(1))

    def requested() -> bool:
        came = bool(requests)
        requests.clear()
        return came

    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def code_of(status: int) -> int:
    """Return a child's exit code as a shell does: 128 plus the signal's number if a signal ended it."""
    return status if status >= 0 else 128 - status
