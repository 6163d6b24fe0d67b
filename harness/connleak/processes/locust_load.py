"""Locust as a child process, one for the whole session: commands over a socket start and stop its users in each cycle.

A child, since an import of Locust patches the sockets of its process, and a sampler beside the users would delay them.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import msgspec

from connleak.locust_guard import ALLOWED
from connleak.model.addresses import HostPort
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.struct import Struct
from connleak.processes.decoding import InvalidMessage, decode
from connleak.processes.load import LoadStatus
from connleak.processes.ports import free_port
from connleak.processes.sockets import is_same_user
from connleak.processes.supervisor import Child, Supervisor, wait_until_ready

PLUGIN = Path(__file__).parent.parent / "locust_plugin.py"
LOCUST = (sys.executable, "-P", "-m", "connleak.locust_guard")
STOP_TIMEOUT = 10.0
"""Seconds that requests in progress get to end; more after a request that took longer."""
STOPPING = 120.0
"""Seconds after which Locust must have stopped its users."""
SILENT = 30.0
"""Seconds without a message after which Locust counts as hung: it reports five times a second."""
LONGEST = 1 << 20
"""Maximum size of a message from Locust, in bytes."""


class Message(LoadStatus, frozen=True, kw_only=True, omit_defaults=True):
    """A message from the plug-in in Locust."""

    say: Literal["waiting", "ready", "status", "stopped"]


class Locustfile(Struct, frozen=True):
    """The path of a locustfile, and the variables with secrets that it reads from its environment."""

    path: str
    secrets: dict[str, str] = {}


_message = msgspec.json.Decoder(Message)


class LocustLoad:
    """Locust as the load of a session: spawned when the context is entered, ready some time later."""

    def __init__(
        self,
        supervisor: Supervisor,
        plan: Plan,
        folder: Path,
        origin: float,
        env: Mapping[str, str],
        locustfile: Callable[[], Locustfile],
    ) -> None:
        self._supervisor = supervisor
        self._plan = plan
        self._folder = folder
        self._origin = origin
        self._env = env
        self._locustfile = locustfile
        self._buffer = b""
        self._last_message_at = time.monotonic()
        """The moment of the last message from Locust."""
        self._child: Child | None = None
        self._channel: socket.socket | None = None
        self.status = LoadStatus()
        self.ready = False
        self._stopped: LoadStatus | None = None
        self._workers: list[Child] = []
        self._bind = HostPort("127.0.0.1", 0)

    def __enter__(self) -> Self:
        self._spawn()
        return self

    def _spawn(self) -> None:
        """Start Locust, and its local workers if there are any."""
        made = self._locustfile()
        path = self._supervisor.scratch / "load.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(1)
        argv = [*LOCUST, "-f", f"{made.path},{PLUGIN}", "--headless", "--host", self._plan.url]
        argv += ["--only-summary", "--loglevel", "INFO", *self._master()]
        variables = {
            "CONNLEAK_LOAD": str(self._folder / "requests.jsonl"),
            "CONNLEAK_CONTROL": str(path),
            "CONNLEAK_ORIGIN": repr(self._origin),
            "CONNLEAK_WORKERS": str(self._plan.workers + self._plan.expect_workers),
        }
        env = self._environment(made.secrets)
        log = self._folder / "locust.log"
        self._child = self._supervisor.start(
            "Locust", argv, cwd=Path(self._plan.cwd), log=log, env={**env, **variables}
        )
        self._workers = [self._worker(number, made.path, env) for number in range(1, self._plan.workers + 1)]
        for child in (self._child, *self._workers):
            self._supervisor.need(child)

    def __exit__(self, *_: object) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._child is not None:
            self._listener.close()
            for child in (self._child, *self._workers):
                self._supervisor.stop(child, grace=2)

    def _environment(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """Return Locust's environment without a proxy, which would not reach an app on loopback."""
        plan = self._plan
        bind = plan.master_bind.host if plan.master_bind else ""
        hosts = [host for host in (*plan.remote, urlsplit(plan.url).hostname, bind) if host]
        own = {"CONNLEAK_SEED": str(plan.seed), "LOCUST_SKIP_UPDATE_CHECK": "1", ALLOWED: json.dumps(hosts)}
        own["GEVENT_RESOLVER"] = "thread"  # c-ares would query the network directly and bypass the guard
        inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {**inherited, **self._env, **secrets, **own}

    def _master(self) -> list[str]:
        """Return the options that make Locust a master, if the plan has workers."""
        if not (self._plan.workers or self._plan.expect_workers):
            return []
        self._bind = self._plan.master_bind or HostPort("127.0.0.1", free_port())
        host, port = self._bind.host, self._bind.port
        return ["--master", "--master-bind-host", host, "--master-bind-port", str(port)]

    def _worker(self, number: int, locustfile: str, env: Mapping[str, str]) -> Child:
        host, port = self._bind.host, self._bind.port
        near = "127.0.0.1" if host in ("0.0.0.0", "*", "::") else host
        argv = [*LOCUST, "-f", f"{locustfile},{PLUGIN}", "--worker"]
        argv += ["--master-host", near, "--master-port", str(port), "--loglevel", "INFO"]
        log = self._folder / f"locust-worker-{number}.log"
        return self._supervisor.start(f"Locust worker {number}", argv, cwd=Path(self._plan.cwd), log=log, env=env)

    def wait_until_ready(self, timeout: float = 30) -> None:
        """Wait until Locust has loaded the locustfile; raise Error with its last lines if that fails."""
        if self._child is None:
            return
        wait_until_ready(self._supervisor, self._child, self._connected, timeout)

    def start(self) -> None:
        """Start the plan's number of users at once."""
        self._command(do="start", users=self._plan.users)

    def stop(self) -> LoadStatus:
        """End the load without interrupting a request; return its counts."""
        self._stopped = None
        self._command(do="stop", timeout=STOP_TIMEOUT)
        deadline = time.monotonic() + STOPPING
        while time.monotonic() < deadline:
            self._receive(0.1)
            if self._stopped is not None:
                return self._stopped
        raise self._failed(f"did not stop its users within {STOPPING:.0f} s")

    def check(self) -> None:
        """Read Locust's messages; raise Error if it, or another process that the session needs, has ended or hangs."""
        self._receive(0.0)

    def _receive(self, timeout: float) -> None:
        for message in self._read(timeout):
            if message.say in ("status", "stopped"):
                self.status = message
            if message.say == "stopped":
                self._stopped = message
        self._supervisor.check()
        if self.ready and time.monotonic() - self._last_message_at > SILENT:
            raise self._failed(f"has sent no message for {SILENT:.0f} s")

    def _failed(self, how: str) -> Error:
        return Error(f"Locust {how}", f"less {self._folder / 'locust.log'}", exit_code=4)

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

    def _read(self, timeout: float) -> list[Message]:
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
            self._last_message_at = time.monotonic()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            if len(self._buffer) > LONGEST:
                raise InvalidMessage(f"a line of more than {LONGEST} bytes")
            return [decode(_message, line) for line in lines]
        except InvalidMessage as error:
            raise self._failed(f"sent a message that cannot be decoded: {error}") from None


class ServingLoad(LocustLoad):
    """A load that the app connects to, as a bot to its platform: it is ready before the app starts."""

    def __enter__(self) -> Self:
        self._spawn()
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self


class DeferredLoad(LocustLoad):
    """A load that is spawned only when the app is ready, since the app itself serves the document it is made from."""

    def __enter__(self) -> Self:
        return self

    def wait_until_ready(self, timeout: float = 30) -> None:
        self._spawn()
        super().wait_until_ready(timeout)
