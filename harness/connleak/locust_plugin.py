"""Loaded behind any locustfile (`locust -f mine.py,locust_plugin.py`): writes every request with the recording's clock.

Under connleak (CONNLEAK_LOAD names the file to write, CONNLEAK_CONTROL the socket to obey) it starts and stops the
load several times within one Locust process, so that a second cycle does not pay for a second start. Without these
variables it does nothing. The only module that imports Locust.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import time
from typing import Any

import gevent
from locust import events

ORIGIN = float(os.environ.get("CONNLEAK_ORIGIN", "0"))
FLUSH_EVERY = 0.2


class Load:
    """The load of one Locust process: its request log, and its obedience."""

    def __init__(self, environment: Any, path: str, control: str) -> None:
        self.environment = environment
        self.file = open(path, "a", buffering=1 << 16)  # noqa: SIM115, PTH123 - open as long as the process
        self.control = socket.socket(socket.AF_UNIX)  # Locust has patched it: reading it lets the users run
        self.control.connect(control)
        self.longest = 0.0
        self.requests = 0
        self.failures = 0

    def request(self, request_type: str, name: str, response_time: float | None, exception: Any, **_: Any) -> None:
        seconds = (response_time or 0.0) / 1000
        row = {
            "t": round(time.monotonic() - seconds - ORIGIN, 4),
            "seconds": round(seconds, 4),
            "name": name,
            "method": request_type,
        }
        if exception is not None:
            row["ok"] = False
            row["error"] = str(exception)[:300]
            self.failures += 1
        self.requests += 1
        self.longest = max(self.longest, seconds)
        self.file.write(json.dumps(row) + "\n")

    def say(self, **message: Any) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def tell(self) -> None:
        """Says how it goes, five times a second."""
        while True:
            gevent.sleep(FLUSH_EVERY)
            self.file.flush()
            self.say(
                say="status",
                users=self.environment.runner.user_count,
                requests=self.requests,
                failures=self.failures,
            )

    def obey(self) -> None:
        """Starts, stops and quits as it is told; leaves the process without Locust's own automatic start."""
        runner = self.environment.runner
        gevent.spawn(self.tell)
        self.say(say="ready", classes=[user.__name__ for user in self.environment.user_classes])
        for line in self.control.makefile():
            command = json.loads(line)
            if command["do"] == "start":
                self.start(runner, command)
            elif command["do"] == "stop":
                # no request is cut: wait at least twice as long as the longest took
                self.environment.stop_timeout = max(command["timeout"], 2 * self.longest)
                began = time.monotonic()
                runner.stop()
                self.file.flush()
                cut = time.monotonic() - began >= self.environment.stop_timeout
                self.say(say="stopped", cut=cut, requests=self.requests, failures=self.failures)
            else:
                break
        self.file.close()
        sys.stdout.flush()
        os._exit(0)  # nothing of Locust's shutdown is wanted: our files are closed

    def start(self, runner: Any, command: dict[str, Any]) -> None:
        if self.environment.shape_class:
            runner.start_shape()
        else:
            runner.start(command["users"], command["users"])


@events.init.add_listener
def on_init(environment: Any, **_: Any) -> None:
    path, control = os.environ.get("CONNLEAK_LOAD"), os.environ.get("CONNLEAK_CONTROL")
    if not (path and control):
        return
    random.seed(int(os.environ.get("CONNLEAK_SEED", "1")))
    load = Load(environment, path, control)
    environment.events.request.add_listener(load.request)
    load.obey()  # the last listener of all, since this file is loaded last: it keeps Locust from starting by itself
