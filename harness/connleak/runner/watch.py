"""Record a live server: connleak starts and changes nothing, and other programs load the app.

Each window is judged like an idle window.
"""

from __future__ import annotations

import contextlib
import time

from connleak.recording.downsampling import window_length
from connleak.runner.live_view import View
from connleak.runner.phases import begin_baseline
from connleak.runner.session import Session, poll, take_snapshot, wait

TICK = 0.25


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
