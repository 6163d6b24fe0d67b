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
from collections import Counter
from typing import Any

import gevent
import requests
from locust import events
from locust.contrib.fasthttp import LocustUserAgent
from locust.runners import MasterRunner, WorkerRunner

from connleak.processes import hosts
from connleak.recording.redaction import redact

FLUSH_EVERY = 0.2
LAST_REPORT = 4.0
HOSTS = 20
"""Other hosts that are told of."""
ELSEWHERE = "connleak_elsewhere"
"""The mark on an answer whose redirect was not followed: the host that it led to."""
REFUSED = "connleak_refused"
"""The mark on the row of a request that we refused: the host that it was to go to."""
OURS = "connleak:"
"""How an error begins that connleak wrote, and no other."""
UNSENT = ("ConnectionRefused", "refused", "RetriesExceeded")
"""Parts of a client's error for a request that never reached the app."""
LONGEST = 255
"""Characters of a host's name, as DNS has it."""
KINDS = 1000
"""Other hosts that are told apart; an app may name a new one in every answer."""
REST = "others"
"""The name under which all further ones are counted."""
SECRETS = [value for name, value in os.environ.items() if name.startswith("REQUEST_SECRET_")]
"""What a made load has in its requests, and an error may repeat."""
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
        self.redirects: Counter[str] = Counter()
        """The other hosts to which the app's redirects were not followed."""
        self.refused: Counter[str] = Counter()
        """The other hosts that a request was made to, and refused."""

    def heard(self, **event: Any) -> None:
        self.write(*taken(**event))

    def write(self, began: float, row: dict[str, Any]) -> None:
        self.requests += 1
        self.failures += not row.get("ok", True)
        self.longest = max(self.longest, row["seconds"])
        count(self.redirects, row.pop(ELSEWHERE, ""))
        count(self.refused, row.pop(REFUSED, ""))
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


def count(found: Counter[str], host: str) -> None:
    """Counts a host, if there is one; any number of them, of any length, may come from the app."""
    host = host[:LONGEST]
    if host:
        found[host if host in found or len(found) < KINDS else REST] += 1


def most(found: Counter[str]) -> dict[str, int]:
    """Returns the hosts that are told of; first one that has a name."""
    return dict(sorted(found.most_common(HOSTS), key=lambda item: item[0] == REST))


def taken(
    request_type: str, name: str, response_time: float | None, exception: Any, response: Any = None, **_: Any
) -> tuple[float, dict[str, Any]]:
    """Returns when a request that Locust tells of began, and its row without that."""
    seconds = (response_time or 0.0) / 1000
    row = row_of(seconds, name, request_type, exception)
    host = getattr(response, ELSEWHERE, "")
    return time.monotonic() - seconds, row | ({ELSEWHERE: host} if host else {})


def row_of(seconds: float, name: str, method: str, exception: Any) -> dict[str, Any]:
    row = {"seconds": round(seconds, 4), "name": str(name)[:300], "method": str(method)[:40]}
    if exception is not None:
        row["ok"] = False
        refused = hosts.refused_host(exception)
        if refused:
            row["error"] = hosts.refusal(refused[:LONGEST])
            row["unsent"] = True
            row[REFUSED] = refused
        else:
            text = redact(str(exception), SECRETS)
            row["error"] = (f"the app: {text}" if text.startswith(OURS) else text)[:300]
            if any(words in text[:300] for words in UNSENT):
                row["unsent"] = True
    return row


def keep_redirects_here(guard: hosts.Guard) -> None:
    """Has Locust's clients take a redirect to a host that may not be reached as the answer, and mark it."""
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
    gevent.get_hub().NOT_ERROR += (hosts.Refused,)  # or each refused lookup is a traceback in the log


if hosts.guard is not None:
    keep_redirects_here(hosts.guard)


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
        elsewhere = {
            "redirects": most(log.redirects),
            "refused": most(log.refused),
        }
        return {"requests": log.requests, "failures": log.failures, "estimated": log.estimated, "elsewhere": elsewhere}

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
            self.say(say="waiting")
            gevent.sleep(0.2)

    def obey(self) -> None:
        """Starts, stops and quits as it is told; leaves the process without Locust's own automatic start."""
        runner = self.environment.runner
        self.wait_for_workers()
        gevent.spawn(self.tell)
        self.say(say="ready")
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
        from connleak.locust_web import Live

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
