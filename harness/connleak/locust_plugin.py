"""Locust's plug-in: the database's sessions beside the load, in Locust's own page, exports and exit code.

    import connleak.locust_plugin            in any locustfile; then: locust --connleak-db postgresql://...
    locust -f mine.py,PATH/locust_plugin.py  the same, with a locustfile that is not touched

A process of its own does the sampling (a sampler in here would stall the load), on the master alone. Under
`connleak run` (CONNLEAK_LOAD names the file to write, CONNLEAK_CONTROL the socket to obey) it starts and stops the
load several times within one Locust process. Without any of these it does nothing. The only module that imports Locust.
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
from locust.runners import MasterRunner, WorkerRunner

FLUSH_EVERY = 0.2
LAST_REPORT = 4.0
REPORTED = "connleak"
"""The part of a worker's report to the master that holds its requests."""


class Requests:
    """The log of requests, in the recording's clock; rows of workers come with their age."""

    def __init__(self, path: str, origin: float) -> None:
        self.file = open(path, "a", buffering=1 << 16)  # noqa: SIM115, PTH123 - open as long as the process
        self.origin = origin
        self.longest = 0.0
        self.requests = 0
        self.failures = 0
        self.estimated = 0
        self.told: dict[str, float] = {}
        """When each worker reported last."""

    def heard(self, **event: Any) -> None:
        self.write(*taken(**event))

    def write(self, began: float, row: dict[str, Any]) -> None:
        self.requests += 1
        self.failures += not row.get("ok", True)
        self.longest = max(self.longest, row["seconds"])
        self.file.write(json.dumps({"t": round(began - self.origin, 4), **row}) + "\n")

    def reported(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        """Takes in what a worker reports; one without this plug-in tells only how many there were, and their mean."""
        now = self.told[client_id] = time.monotonic()
        if REPORTED in data:
            for age, row in data[REPORTED]:
                self.write(now - age, row)
            return
        for entry in data.get("stats", ()):
            count, failed = entry["num_requests"], entry["num_failures"]
            mean = entry["total_response_time"] / max(1, count) / 1000
            for number in range(count):
                error = "a failure that its worker did not tell of" if number < failed else None
                age = 3.0 * (1 - (number + 0.5) / count)  # workers report every three seconds
                self.write(now - age - mean, row_of(mean, entry["name"], entry["method"], error))
            self.estimated += count


def taken(
    request_type: str, name: str, response_time: float | None, exception: Any, **_: Any
) -> tuple[float, dict[str, Any]]:
    """Returns when a request that Locust tells of began, and its row without that."""
    seconds = (response_time or 0.0) / 1000
    return time.monotonic() - seconds, row_of(seconds, name, request_type, exception)


def row_of(seconds: float, name: str, method: str, exception: Any) -> dict[str, Any]:
    row = {"seconds": round(seconds, 4), "name": str(name)[:300], "method": str(method)[:40]}
    if exception is not None:
        row["ok"] = False
        row["error"] = str(exception)[:300]
    return row


def report_requests(environment: Any) -> None:
    """On a worker: sends each request to the master with its reports, with its age there."""
    waiting: list[tuple[float, dict[str, Any]]] = []

    def report(client_id: str, data: dict[str, Any], **_: Any) -> None:
        now = time.monotonic()
        data[REPORTED] = [[round(now - began, 4), row] for began, row in waiting]
        waiting.clear()

    environment.events.request.add_listener(lambda **event: waiting.append(taken(**event)))
    environment.events.report_to_master.add_listener(report)


class Load:
    """The load of one Locust process under `connleak run`: its request log, and its obedience."""

    def __init__(self, environment: Any, path: str, control: str) -> None:
        self.environment = environment
        self.log = Requests(path, float(os.environ.get("CONNLEAK_ORIGIN", "0")))
        self.control = socket.socket(socket.AF_UNIX)  # Locust has patched it: reading it lets the users run
        self.control.connect(control)

    def say(self, **message: Any) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def counts(self) -> dict[str, Any]:
        log = self.log
        return {"requests": log.requests, "failures": log.failures, "estimated": log.estimated}

    def tell(self) -> None:
        """Says how it goes, five times a second."""
        while True:
            gevent.sleep(FLUSH_EVERY)
            self.log.file.flush()
            self.say(say="status", users=self.environment.runner.user_count, **self.counts())

    def wait_for_workers(self, patience: float = float("inf")) -> None:
        """On a master: returns once all workers that are expected are ready, or the patience is over."""
        runner, wanted = self.environment.runner, int(os.environ.get("CONNLEAK_WORKERS", "0"))
        until = time.monotonic() + patience
        while isinstance(runner, MasterRunner) and len(runner.clients.ready) < wanted and time.monotonic() < until:
            self.say(say="waiting", workers=len(runner.clients.ready), wanted=wanted)
            gevent.sleep(0.2)

    def obey(self) -> None:
        """Starts, stops and quits as it is told; leaves the process without Locust's own automatic start."""
        runner = self.environment.runner
        self.wait_for_workers()
        gevent.spawn(self.tell)
        self.say(say="ready", classes=[user.__name__ for user in self.environment.user_classes])
        for line in self.control.makefile():
            command = json.loads(line)
            if command["do"] == "start":
                self.start(runner, command)
            elif command["do"] == "stop":
                self.stop(runner, command)
            else:
                break
        self.log.file.close()
        sys.stdout.flush()
        if isinstance(runner, MasterRunner):
            runner.quit()  # the workers
            gevent.sleep(0.5)
        os._exit(0)  # nothing of Locust's shutdown is wanted: our files are closed

    def stop(self, runner: Any, command: dict[str, Any]) -> None:
        """Ends the load; no request is cut: it waits at least twice as long as the longest took."""
        self.environment.stop_timeout = max(command["timeout"], 2 * self.log.longest)
        began = time.monotonic()
        workers = set(runner.clients) if isinstance(runner, MasterRunner) else set()
        runner.stop()
        cut = time.monotonic() - began >= self.environment.stop_timeout
        self.wait_for_reports(workers)
        self.log.file.flush()
        self.say(say="stopped", cut=cut, **self.counts())

    def wait_for_reports(self, workers: set[str]) -> None:
        """Returns once each worker has reported what it did until it stopped: they report every three seconds."""
        stopped = time.monotonic()
        while any(self.log.told.get(worker, 0.0) < stopped for worker in workers):
            if time.monotonic() - stopped > LAST_REPORT:
                return
            gevent.sleep(0.05)

    def start(self, runner: Any, command: dict[str, Any]) -> None:
        self.wait_for_workers(10.0)  # one that has stopped is ready again a moment later
        if self.environment.shape_class:
            runner.start_shape()
        else:
            runner.start(command["users"], command["users"])


@events.init_command_line_parser.add_listener
def add_options(parser: Any, **_: Any) -> None:
    if getattr(parser, "connleak", False):
        return  # loaded twice, by path and by name
    parser.connleak = True
    parser.add_argument(
        "--connleak-db", env_var="CONNLEAK_DB", default="", is_secret=True, help="Watch the sessions of this database."
    )
    parser.add_argument("--connleak-out", env_var="CONNLEAK_OUT", default="", help="The recording's folder.")
    parser.add_argument(
        "--connleak-listen", env_var="CONNLEAK_LISTEN", default="", help="HOST:PORT for probes (connleak probe)."
    )
    parser.add_argument(
        "--connleak-budget",
        env_var="CONNLEAK_BUDGET",
        default="",
        help="Sessions that pools may keep, without a probe.",
    )
    parser.add_argument("--connleak-allow-remote", default="", help="A host that the database may be on.")


@events.init.add_listener
def on_init(environment: Any, web_ui: Any = None, **_: Any) -> None:
    if getattr(environment, "connleak", False):
        return
    environment.connleak = True
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        random.seed(int(os.environ.get("CONNLEAK_SEED", "1")))
        report_requests(environment)
        return
    path, control = os.environ.get("CONNLEAK_LOAD"), os.environ.get("CONNLEAK_CONTROL")
    if path and control:
        random.seed(int(os.environ.get("CONNLEAK_SEED", "1")))
        load = Load(environment, path, control)
        hear(environment, load.log)
        load.obey()  # the last listener of all, since this file is loaded last: it keeps Locust from starting by itself
    elif environment.parsed_options and getattr(environment.parsed_options, "connleak_db", ""):
        from connleak.locust_live import Live

        live = Live(environment, web_ui)
        hear(environment, Requests(str(live.folder / "requests.jsonl"), live.origin))


def hear(environment: Any, log: Requests) -> None:
    """Has the log hear of each request: here, or by the workers' reports."""
    if isinstance(environment.runner, MasterRunner):
        environment.events.worker_report.add_listener(log.reported)
    else:
        environment.events.request.add_listener(log.heard)
    environment.events.test_stop.add_listener(lambda **_: log.file.flush())
    environment.events.quitting.add_listener(lambda **_: log.file.flush())
