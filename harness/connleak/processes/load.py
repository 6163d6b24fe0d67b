"""Locust as a child process: one for the whole run, started and stopped once a cycle through a control socket.

A child, since importing Locust patches this process's sockets, and a sampler in its process would stall it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from connleak.locust_guard import ALLOWED
from connleak.model.addresses import HostPort
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.struct import Struct
from connleak.processes.decoding import Count, InvalidMessage, decode
from connleak.processes.ports import free_port
from connleak.processes.sockets import is_same_user
from connleak.processes.supervisor import Child, Supervisor, wait_until_ready

PLUGIN = Path(__file__).parent.parent / "locust_plugin.py"
LOCUST = (sys.executable, "-P", "-m", "connleak.locust_guard")
STOP_TIMEOUT = 10.0
SILENT = 30.0
"""Seconds after which a Locust that has said nothing does nothing: it says how it goes five times a second."""
LONGEST = 1 << 20
"""Bytes that Locust may say in one line."""


Hosts = Annotated[dict[Annotated[str, Meta(max_length=300)], Count], Meta(max_length=100)]


class Outside(Struct, frozen=True):
    """The other hosts that the load was kept from, with how often: by a redirect of the app's, by a request."""

    redirects: Hosts = {}
    refused: Hosts = {}


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of Locust's, by our plug-in in it."""

    say: Literal["waiting", "ready", "status", "stopped"]
    users: Count = 0
    requests: Count = 0
    failures: Count = 0
    estimated: Count = 0
    elsewhere: Outside = Outside()
    cut: bool = False


_said = msgspec.json.Decoder(Said)


class Load:
    """The load of a run; a context manager. Without a scenario every step is empty."""

    def __init__(self, keeper: Supervisor, plan: Plan, folder: Path, origin: float, env: Mapping[str, str]) -> None:
        self._keeper = keeper
        self._plan = plan
        self._folder = folder
        self._origin = origin
        self._env = env
        self._buffer = b""
        self._heard = time.monotonic()
        """When Locust said anything last, whoever read it."""
        self._child: Child | None = None
        self._channel: socket.socket | None = None
        self.status: dict[str, Any] = {"users": 0, "requests": 0, "failures": 0}
        self.ready = False
        self._stopped: dict[str, Any] | None = None
        self.scenario = plan.scenario
        self.secrets: dict[str, str] = {}
        """Variables of a made locustfile, which is kept without them."""
        self._workers: list[Child] = []
        self._bind = HostPort("127.0.0.1", 0)

    def __enter__(self) -> Load:
        if self._plan.load == "none":
            return self
        path = self._keeper.scratch / "load.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(1)
        argv = [
            *LOCUST,
            "-f",
            f"{self.scenario},{PLUGIN}",
            "--headless",
            "--host",
            self._plan.url,
            "--only-summary",
            "--loglevel",
            "INFO",
        ]
        argv += self._master()
        self._child = self._keeper.start(
            "Locust",
            argv,
            cwd=Path(self._plan.cwd),
            log=self._folder / "locust.log",
            env=self._environment()
            | {
                "CONNLEAK_LOAD": str(self._folder / "requests.jsonl"),
                "CONNLEAK_CONTROL": str(path),
                "CONNLEAK_ORIGIN": repr(self._origin),
                "CONNLEAK_WORKERS": str(self._plan.workers + self._plan.expect_workers),
            },
        )
        self._workers = [self._worker(number) for number in range(1, self._plan.workers + 1)]
        for child in (self._child, *self._workers):
            self._keeper.need(child)
        return self

    def __exit__(self, *_: object) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._child is not None:
            self._listener.close()
            for child in (self._child, *self._workers):
                self._keeper.stop(child, grace=2)

    def _environment(self) -> dict[str, str]:
        """Returns Locust's environment, without a proxy: what is loaded is near, and a proxy is not."""
        plan = self._plan
        bind = plan.master_bind.host if plan.master_bind else ""
        hosts = [host for host in (*plan.remote, urlsplit(plan.url).hostname, bind) if host]
        ours = {"CONNLEAK_SEED": str(plan.seed), "LOCUST_SKIP_UPDATE_CHECK": "1", ALLOWED: json.dumps(hosts)}
        ours["GEVENT_RESOLVER"] = "thread"  # c-ares would ask the network itself, past the guard
        inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {**inherited, **self._env, **self.secrets, **ours}

    def _master(self) -> list[str]:
        """Returns the words that make Locust a master, where the plan has workers."""
        if not (self._plan.workers or self._plan.expect_workers):
            return []
        self._bind = self._plan.master_bind or HostPort("127.0.0.1", free_port())
        host, port = self._bind.host, self._bind.port
        return ["--master", "--master-bind-host", host, "--master-bind-port", str(port)]

    def _worker(self, number: int) -> Child:
        host, port = self._bind.host, self._bind.port
        near = "127.0.0.1" if host in ("0.0.0.0", "*", "::") else host
        argv = [*LOCUST, "-f", f"{self.scenario},{PLUGIN}", "--worker"]
        argv += ["--master-host", near, "--master-port", str(port), "--loglevel", "INFO"]
        log = self._folder / f"locust-worker-{number}.log"
        return self._keeper.start(
            f"Locust's worker {number}", argv, cwd=Path(self._plan.cwd), log=log, env=self._environment()
        )

    def wait_until_ready(self, timeout: float = 30) -> None:
        """Returns once the locustfile is loaded; raises Error with Locust's last lines when it is not."""
        if self._child is None:
            return
        wait_until_ready(self._keeper, self._child, self._connected, timeout)

    def start(self) -> None:
        """Begins a load with the plan's number of users at once."""
        self._command(do="start", users=self._plan.users)

    def stop(self) -> dict[str, Any]:
        """Ends the load without cutting a request; returns {cut, requests, failures}."""
        if self._channel is None:
            return {"cut": False, **self.status}
        self._stopped = None
        self._command(do="stop", timeout=STOP_TIMEOUT)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            self.check(0.1)
            if self._stopped is not None:
                return self._stopped
        raise Error("Locust did not stop its users within 120 s", f"less {self._folder / 'locust.log'}", exit_code=4)

    def check(self, timeout: float = 0.0) -> None:
        """Takes in what Locust says, waiting at most so long; raises Error when it, or what is needed, has ended."""
        if self._child is None:
            return
        messages = self._read(timeout)
        for message in messages:
            if message.say in ("status", "stopped"):
                self.status |= counts_of(message)
            if message.say == "stopped":
                self._stopped = counts_of(message)
        self._keeper.check()
        if self.ready and time.monotonic() - self._heard > SILENT:
            raise Error(
                f"Locust has said nothing for {SILENT:.0f} s", f"less {self._folder / 'locust.log'}", exit_code=4
            )

    def _connected(self) -> bool:
        if self._channel is None:
            ready, _, _ = select.select([self._listener], [], [], 0)
            if not ready:
                return False
            channel, _ = self._listener.accept()
            if not is_same_user(channel):
                channel.close()
                return False
            self._channel = channel
        if any(message.say == "ready" for message in self._read(0.0)):
            self.ready = True
        return self.ready

    def _command(self, **message: Any) -> None:
        if self._channel is not None:
            try:
                self._channel.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                self.check()
                raise

    def _read(self, timeout: float) -> list[Said]:
        if self._channel is None:
            return []
        ready, _, _ = select.select([self._channel], [], [], timeout)
        if not ready:
            return []
        try:
            data = self._channel.recv(1 << 16)
        except OSError:
            data = b""
        if data:
            self._heard = time.monotonic()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            if len(self._buffer) > LONGEST:
                raise InvalidMessage(f"a line of more than {LONGEST} bytes")
            return [decode(_said, line) for line in lines]
        except InvalidMessage as error:
            told = f"what Locust said could not be understood: {error}"
            raise Error(told, f"less {self._folder / 'locust.log'}", exit_code=4) from None


def counts_of(said: Said) -> dict[str, Any]:
    """Returns how the load goes, as Locust says it."""
    counts = {name: getattr(said, name) for name in ("users", "requests", "failures", "estimated")}
    counts["elsewhere"] = {"redirects": said.elsewhere.redirects, "refused": said.elsewhere.refused}
    return counts | ({"cut": said.cut} if said.say == "stopped" else {})
