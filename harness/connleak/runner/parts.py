"""The parts that not every session has, with their null objects, and the callbacks of a session's caller."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from connleak.collectors.probe_collector import Collector
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.moment import Moment
from connleak.model.plan import Plan
from connleak.model.recording import Sample
from connleak.model.struct import Struct
from connleak.processes.part import NullPart

COMING = 120.0
"""Seconds in which hosts and workers that the user starts must connect."""


class Progress(Struct, frozen=True, kw_only=True):
    """The progress of a session with cycles, to be displayed."""

    phase: str
    cycle: int
    cycles: int
    elapsed: float
    remaining: float
    states: dict[str, int]
    out: int
    requests: int
    failures: int


def ignore(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Callbacks:
    """The functions that a session calls: its caller displays its progress, and may request a snapshot."""

    progress: Callable[[Progress], None] = ignore
    """Called a few times a second in a session with cycles."""
    moment: Callable[[Moment], None] = ignore
    """Called up to a few times a second while a live server is watched."""
    opened: Callable[[Path, float], None] = ignore
    """Called with the folder and the clock's origin once `connleak holders` gets an answer."""
    snapshot_requested: Callable[[], bool] = lambda: False
    """Return whether a holder table was requested since the last call (SIGUSR2)."""


NO_CALLBACKS = Callbacks()


class SamplerPart(Protocol):
    """The sampler's place in a session."""

    latest: Sample
    thins: bool

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class NoSampler(NullPart):
    """The sampler of a session that reads no server."""

    def __init__(self) -> None:
        self.latest = Sample(0.0, ())
        self.thins = False


NO_SERVER = Server(
    source="",
    version="",
    max_connections=0,
    reserved=0,
    host="",
    port=0,
    user="",
    password="",
    dbname="",
    admin={},
    own_server=False,
    own_database=False,
)
"""The server of a session that reads none."""


class Hosts(Protocol):
    """The hosts on which a session expects the app."""

    phase: str
    """The phase in which the session waits for them; empty if it does not wait."""

    def wait_until_ready(self, timeout: float = COMING) -> None: ...


class NoHosts:
    """The expected hosts of a session that waits for none."""

    phase = ""

    def __init__(self, *_: object) -> None:
        pass

    def wait_until_ready(self, timeout: float = COMING) -> None:
        pass


class ExpectedHosts:
    """Hosts on which the user starts the app with `connleak probe --collector`."""

    phase = "apps"

    def __init__(self, probes: Collector, plan: Plan, show: Callable[[], None]) -> None:
        self._probes = probes
        self._plan = plan
        self._show = show

    def wait_until_ready(self, timeout: float = COMING) -> None:
        """Wait until probes of as many hosts as are expected have connected; raise Error if they do not."""
        deadline = time.monotonic() + timeout
        while len({peer.host for peer in self._probes.living() if peer.host}) < self._plan.expect_apps:
            self._show()
            if time.monotonic() > deadline:
                relays = self._probes.relays
                came = ", ".join(relays.hosts() if relays else ()) or "none"
                raise Error(
                    f"{self._plan.expect_apps} hosts were expected within {timeout:.0f} s; connected: {came}",
                    f"connleak probe --collector {self._plan.listen} -- COMMAND, on each of them",
                    exit_code=4,
                )
            time.sleep(0.1)
