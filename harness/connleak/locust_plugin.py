"""Locust's plug-in: the database's sessions beside the load, in Locust's page, exports and exit code.

    import connleak.locust_plugin            in any locustfile; then: locust --connleak-db postgresql://...
    locust -f mine.py,PATH/locust_plugin.py  the same, with a locustfile that is not touched

On the master, a child process samples the sessions (a sampler in this process would delay the users). Under
`connleak run`, CONNLEAK_LOAD is the file of requests, and CONNLEAK_CONTROL the socket of the commands that start and
stop the users, several times in one Locust process. Without these, the plug-in does nothing. Only this module imports
Locust.
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
import requests
from locust import events
from locust.contrib.fasthttp import LocustUserAgent
from locust.runners import MasterRunner, WorkerRunner

from connleak.locust_requests import ELSEWHERE, REPORTED, Requests, most_common, request_row
from connleak.processes import hosts

FLUSH_EVERY = 0.2
"""Seconds between two messages with the counts."""
LAST_REPORT = 4.0
"""Seconds to wait for a worker's last report: workers report every three seconds."""


def keep_redirects_here(guard: hosts.Guard) -> None:
    """Make Locust's clients return a redirect to a forbidden host as the response, with a mark."""
    fast: Any = LocustUserAgent
    plain: Any = requests.Session
    open_url, target = fast._urlopen, plain.get_redirect_target

    def urlopen(agent: Any, request: Any) -> Any:
        response = open_url(agent, request)
        location = response.headers.get("location")
        if isinstance(location, str) and response.status_code in agent.redirect_response_codes:
            setattr(response, ELSEWHERE, guard.refused_redirect(request.url, location))
            if getattr(response, ELSEWHERE):
                response.headers.discard("location")
        return response

    def get_redirect_target(session: Any, response: Any) -> str | None:
        location = target(session, response)
        if location is not None:
            setattr(response, ELSEWHERE, guard.refused_redirect(response.url, location))
        return None if getattr(response, ELSEWHERE, "") else location

    fast._urlopen, plain.get_redirect_target = urlopen, get_redirect_target
    gevent.get_hub().NOT_ERROR += (hosts.Refused,)  # else gevent logs a traceback for each refused lookup


if hosts.guard is not None:
    keep_redirects_here(hosts.guard)


def report_requests(environment: Any) -> None:
    """On a worker: add each request, with its age, to the reports to the master."""
    unreported: list[tuple[float, dict[str, Any]]] = []

    def report(client_id: str, data: dict[str, Any], **_: Any) -> None:
        now = time.monotonic()
        data[REPORTED] = [[round(now - began, 4), row] for began, row in unreported]
        unreported.clear()

    environment.events.request.add_listener(lambda **event: unreported.append(request_row(**event)))
    environment.events.report_to_master.add_listener(report)


class LoadControl:
    """The users of a Locust process under `connleak run`, which a socket controls, and its file of requests."""

    def __init__(self, environment: Any, path: str, control: str) -> None:
        self.environment = environment
        self.log = Requests(path, float(os.environ.get("CONNLEAK_ORIGIN", "0")))
        self.control = socket.socket(socket.AF_UNIX)  # patched by gevent: a read lets the users run
        self.control.connect(control)

    def send(self, **message: Any) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def counts(self) -> dict[str, Any]:
        log = self.log
        elsewhere = {"redirects": most_common(log.redirects), "refused": most_common(log.refused)}
        return {"requests": log.requests, "failures": log.failures, "estimated": log.estimated, "elsewhere": elsewhere}

    def report(self) -> None:
        """Send the counts five times a second."""
        while True:
            gevent.sleep(FLUSH_EVERY)
            self.log.file.flush()
            self.send(say="status", users=self.environment.runner.user_count, **self.counts())

    def wait_for_workers(self, patience: float = float("inf")) -> None:
        """On a master: wait until the expected workers are ready, or for `patience` seconds."""
        runner, wanted = self.environment.runner, int(os.environ.get("CONNLEAK_WORKERS", "0"))
        deadline = time.monotonic() + patience
        while isinstance(runner, MasterRunner) and len(runner.clients.ready) < wanted and time.monotonic() < deadline:
            self.send(say="waiting")
            gevent.sleep(0.2)

    def run(self) -> None:
        """Start and stop the users as commanded, then end the process, so that Locust does not start them itself."""
        runner = self.environment.runner
        self.wait_for_workers()
        gevent.spawn(self.report)
        self.send(say="ready")
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
        os._exit(0)  # without Locust's shutdown: the file of requests is closed

    def stop(self, runner: Any, command: dict[str, Any]) -> None:
        """Stop the users; requests in progress get at least twice the time of the longest one before."""
        self.environment.stop_timeout = max(command["timeout"], 2 * self.log.longest)
        began = time.monotonic()
        workers = set(runner.clients) if isinstance(runner, MasterRunner) else set()
        runner.stop()
        cut = time.monotonic() - began >= self.environment.stop_timeout
        self.wait_for_reports(workers)
        self.log.file.flush()
        self.send(say="stopped", cut=cut, **self.counts())

    def wait_for_reports(self, workers: set[str]) -> None:
        """Wait until each worker has reported the requests up to its stop."""
        stopped = time.monotonic()
        while any(self.log.reported_at.get(worker, 0.0) < stopped for worker in workers):
            if time.monotonic() - stopped > LAST_REPORT:
                return
            gevent.sleep(0.05)

    def start(self, runner: Any, command: dict[str, Any]) -> None:
        self.wait_for_workers(10.0)  # a worker is ready again a moment after its stop
        if self.environment.shape_class:
            runner.start_shape()
        else:
            runner.start(command["users"], command["users"])


@events.init_command_line_parser.add_listener
def add_options(parser: Any, **_: Any) -> None:
    if getattr(parser, "connleak", False):
        return  # the plug-in is loaded twice, by path and by name
    parser.connleak = True
    parser.add_argument(
        "--connleak-db", env_var="CONNLEAK_DB", default="", is_secret=True, help="Watch the sessions of this database."
    )
    parser.add_argument("--connleak-out", env_var="CONNLEAK_OUT", default="", help="The folder of the recording.")
    parser.add_argument(
        "--connleak-listen", env_var="CONNLEAK_LISTEN", default="", help="HOST:PORT for probes (connleak probe)."
    )
    parser.add_argument(
        "--connleak-max-idle",
        "--connleak-budget",
        env_var="CONNLEAK_BUDGET",
        default="",
        help="Idle connections that the pools may keep, without a probe.",
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
        load = LoadControl(environment, path, control)
        listen(environment, load.log)
        load.run()  # the last listener, since this file is loaded last: Locust does not get to start by itself
    elif environment.parsed_options and getattr(environment.parsed_options, "connleak_db", ""):
        from connleak.locust_web import Live

        live = Live(environment, web_ui)
        listen(environment, Requests(str(live.folder / "requests.jsonl"), live.origin))


def listen(environment: Any, log: Requests) -> None:
    """Write each request to the file: from this process's events, or from the workers' reports."""
    if isinstance(environment.runner, MasterRunner):
        environment.events.worker_report.add_listener(log.add_report)
    else:
        environment.events.request.add_listener(log.add)
    environment.events.test_stop.add_listener(lambda **_: log.file.flush())
    environment.events.quitting.add_listener(lambda **_: log.file.flush())
