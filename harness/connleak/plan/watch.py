"""The options of `connleak watch` -> its plan."""

from __future__ import annotations

import math
from pathlib import Path

from connleak.model.errors import Error
from connleak.model.plan import Database, Phases, Plan
from connleak.model.struct import Struct
from connleak.plan.addresses import parse_database, parse_host_port
from connleak.plan.options import Secrets
from connleak.version import __version__

LEAST_READS = 5
"""How many times the server must be read in a window."""


class WatchOptions(Struct, frozen=True, kw_only=True):
    """A watch as a user requests it; durations in seconds."""

    address: str
    window: float
    every: float
    listen: str | None = None
    allow_remote: tuple[str, ...] = ()
    max_idle: int | None = None
    argv: tuple[str, ...] = ()
    follow: bool = False
    """Whether another process generates the load, and sends when it starts and stops."""
    users: int = 1
    """Users of a load that is followed."""
    seconds: float | None = None
    """The time after which the watch ends; None: at Ctrl-C."""
    until_leak: bool = False


def watch_plan(options: WatchOptions) -> tuple[Plan, Secrets]:
    """Return the plan of watching a server, and its secrets; raise Error for an invalid value."""
    for option, value in (("--window", options.window), ("--every", options.every), ("--for", options.seconds)):
        if value is not None and not 0 < value < math.inf:
            raise Error(f"{option} is {value:g}: expected a number of seconds > 0", "connleak watch --help")
    if options.max_idle is not None and options.max_idle < 0:
        raise Error(f"--max-idle is {options.max_idle}: expected a whole number >= 0", "connleak watch --help")
    if not options.follow and options.window < LEAST_READS * options.every:
        raise Error(
            f"--window {options.window:g} is shorter than {LEAST_READS} times --every {options.every:g}",
            "connleak watch ... --every 1",
        )
    database = parse_database(options.address, options.allow_remote)
    listen = parse_host_port(options.listen, "--listen") if options.listen else None
    plan = Plan(
        kind="follow" if options.follow else "watch",
        target="locust" if options.follow else "watch",
        variant=database.kind,
        app="",
        cwd=str(Path.cwd()),
        url="",
        scenario="",
        users=options.users,
        phases=Phases(),
        cycles=0,
        database=Database(source="url", kind=database.kind),
        probe="pool" if listen else "off",
        sample_every=options.every,
        load="locust" if options.follow else "none",
        window=0.0 if options.follow else options.window,
        seconds=options.seconds or 0.0,
        until_leak=options.until_leak,
        max_idle_connections=options.max_idle,
        listen=listen,
        remote=options.allow_remote,
        argv=options.argv,
        tool_version=__version__,
    )
    return plan, Secrets(database=database)
