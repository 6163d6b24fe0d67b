"""Recording a live server: connleak starts and changes nothing, and another program loads the app.

Each window is judged like a rest.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from connleak import __version__
from connleak.model.errors import Error
from connleak.model.plan import Database, Phases, Plan
from connleak.recording.downsampling import window_length
from connleak.runner.live_view import View
from connleak.runner.phases import begin_baseline
from connleak.runner.session import Session, poll, take_snapshot, wait

TICK = 0.25


def plan_of(
    address: str,
    *,
    window: float,
    every: float,
    listen: str = "",
    allowed: tuple[str, ...] = (),
    users: int = 1,
    name: str = "watch",
    argv: tuple[str, ...] = (),
    budget: int | None = None,
    seconds: float = 0.0,
    until_leak: bool = False,
) -> Plan:
    """Return the plan of watching a server; raise Error for a value out of range."""
    for option, value in (("--window", window), ("--every", every)):
        if not value > 0:
            raise Error(f"{option} is {value:g}; it takes a number of seconds above 0", "connleak watch --help")
    if name == "watch" and window < 5 * every:
        raise Error(
            f"--window {window:g} is shorter than five samples of --every {every:g}", "connleak watch ... --every 1"
        )
    kind = "mysql" if address.startswith(("mysql", "mariadb")) else "postgresql"
    return Plan(
        kind="watch" if name == "watch" else "follow",
        target=name,
        variant=kind,
        app="",
        cwd=str(Path.cwd()),
        url="",
        scenario="",
        users=users,
        phases=Phases(),
        cycles=0,
        database=Database(source="url", kind=kind),
        probe="pool" if listen else "off",
        sample_every=every,
        load="none" if name == "watch" else "locust",
        window=window if name == "watch" else 0.0,
        seconds=seconds,
        until_leak=until_leak,
        budget=budget,
        listen=listen,
        remote=allowed,
        argv=argv,
        tool_version=__version__,
    )


class Windows:
    """A schedule of windows, until it is interrupted, a leak is certain, or the plan's time is over."""

    def walk(self, session: Session) -> int:
        """Watch one window after another; Ctrl-C is the usual end."""
        with contextlib.suppress(KeyboardInterrupt):
            self.watch(session)
        return 0

    def watch(self, session: Session) -> None:
        plan = session.plan
        begin_baseline(session)
        wait(session, plan.sample_every)
        deadline = time.monotonic() + plan.seconds if plan.seconds else float("inf")
        view = View(session)
        while time.monotonic() < deadline:
            self.window(session, view, deadline)
            session.begin("judge", session.cycle)  # outside of any window, so that the recording gives this verdict
            view.judge()
            if plan.until_leak and view.verdict is not None and view.verdict.outcome in ("leak", "fault"):
                view.show()
                return

    def window(self, session: Session, view: View, deadline: float) -> None:
        """Watch one window, with the holder tables of its start and its end; later ones last longer."""
        session.begin("watch", session.cycle + 1)
        take_snapshot(session, "watch", session.cycle)
        end = min(deadline, time.monotonic() + window_length(session.plan.window, session.now()))
        for _ in poll(session, TICK):
            view.show()
            if time.monotonic() >= end:
                break
        take_snapshot(session, "watch", session.cycle)
