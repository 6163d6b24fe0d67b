"""Record a live server under another tool's load, whose start and end are commands on stdin."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys

from connleak.runner.live_view import View
from connleak.runner.phases import begin_baseline, final_idle_window
from connleak.runner.session import Session, poll, take_snapshot
from connleak.runner.settling import idle_when_settled


class Followed:
    """A schedule whose loads begin and end with the commands on stdin."""

    def walk(self, session: Session) -> int:
        """Record the cycles until the command to quit, or Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            self.follow(session)
        return 0

    def follow(self, session: Session) -> None:
        begin_baseline(session)
        take_snapshot(session, "baseline", 0)
        view, commands = View(session), Commands()
        for _ in poll(session, 0.05):
            view.show()
            for command in commands.new():
                if command == "load":
                    session.begin("load", session.cycle + 1)
                elif command in ("stop", "quit") and session.phase == "load":
                    session.begin("drain", session.cycle)
                    idle_when_settled(session)
                if command == "quit":
                    final_idle_window(session)
                    return


class Commands:
    """Lines on stdin, {"do": "load" | "stop" | "quit"}; the end of stdin is a quit, too."""

    def __init__(self) -> None:
        self._buffer = b""
        self._ended = False

    def new(self) -> list[str]:
        """Return the commands since the last call."""
        if self._ended or not select.select([sys.stdin], [], [], 0)[0]:
            return []
        data = os.read(sys.stdin.fileno(), 1 << 16)
        if not data:
            self._ended = True
            return ["quit"]
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [str(json.loads(line).get("do")) for line in lines if line.strip()]
