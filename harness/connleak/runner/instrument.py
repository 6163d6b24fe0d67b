"""Run a command with the probe injected, without a load or a connection to the server.

Holder tables are written to a folder of this host on request (`connleak holders`, SIGUSR2) and at the first pool
timeout, or the probe's messages are sent to a collector on another host.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from connleak.collectors.authentication import need_secret
from connleak.collectors.relay_client import RelayClient
from connleak.model.addresses import HostPort
from connleak.model.plan import Database, Phases, Plan
from connleak.plan.options import Secrets
from connleak.processes.supervisor import Supervisor
from connleak.runner.foreground import code_of, own_signals, start
from connleak.runner.parts import Callbacks
from connleak.runner.record import record
from connleak.version import __version__


def plan_of(command: Sequence[str], probe: str) -> Plan:
    """Return the plan of a command with the probe alone."""
    return Plan(
        kind="probe",
        target="probe",
        variant=Path(command[0]).name,
        app=shlex.join(command),
        cwd=str(Path.cwd()),
        url="",
        scenario="",
        users=0,
        phases=Phases(),
        cycles=0,
        database=Database(),
        probe=probe,
        load="none",
        tool_version=__version__,
    )


def run_local(command: Sequence[str], folder: Path, probe: str, opened: Callable[[], None]) -> int:
    """Run the command with a probe whose holder tables are written to `folder`; return its exit code.

    `opened` is called once `connleak holders` gets an answer.
    """
    with own_signals() as requested:
        callbacks = Callbacks(opened=lambda *_: opened(), snapshot_requested=requested)
        return record(plan_of(command, probe), Secrets(), folder, callbacks)


def run_relayed(command: Sequence[str], address: HostPort, name: str) -> int:
    """Run the command with a probe that reports to a collector on another host; return its exit code.

    Raise Error if no collector answers: the command is not started then.
    """
    secret = need_secret()
    with (
        Supervisor() as supervisor,
        RelayClient(supervisor.scratch, (address.host, address.port), secret, name) as relay,
        own_signals(),
    ):
        return code_of(start(command, relay.environment()).wait())
