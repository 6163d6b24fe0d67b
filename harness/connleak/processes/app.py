"""The app under test: a child process with the database's address and the probe in its environment, or remote."""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

import psutil

from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import Backend
from connleak.probe import ENTRY
from connleak.processes.part import NullPart, Part
from connleak.processes.supervisor import Child, Supervisor, wait_until_done, wait_until_ready
from connleak.processes.variables import LIBPQ_SERVICE
from connleak.processes.venv import environment
from connleak.recording.redaction import expand_references, redact_input

READY_PATH = "/connleak-is-it-up"
"""Requested until there is a response: a 404 will do, since only the app can send it."""
SETUP_TIME = 300.0
"""Seconds that one command of --setup may take."""


class AppPart(Part, Protocol):
    """The app's place in a session, with the processes that it consists of."""

    @property
    def started(self) -> bool: ...

    def processes(self) -> dict[int, str]:
        """Return {pid: command} of the living processes on this host."""

    def ports(self) -> dict[int, int]:
        """Return {local TCP port: pid} of these processes."""

    def owns(self, backend: Backend) -> bool:
        """Return whether the client port of a session is a socket of one of these processes."""


class App:
    """An app that connleak sets up, starts, and ends with all its workers."""

    def __init__(self, supervisor: Supervisor, plan: Plan, folder: Path, environment: Mapping[str, str]) -> None:
        self._supervisor = supervisor
        self._plan = plan
        self._folder = folder
        self._environment = environment
        self._owned: dict[int, bool] = {}
        self.child: Child | None = None

    @property
    def started(self) -> bool:
        return self.child is not None

    def __enter__(self) -> Self:
        plan = self._plan
        self._set_up()
        if plan.url and plan.listens != "load":
            refuse_port_in_use(plan.url)
        env = self.environment()
        if plan.probe != "off":
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ENTRY), env.get("PYTHONPATH", "")]))
        log = self._folder / "app.log"
        self.child = self._supervisor.start("the app", words_of(plan.app, env), cwd=Path(plan.cwd), env=env, log=log)
        self._supervisor.need(self.child)
        return self

    def _set_up(self) -> None:
        """Run the commands of --setup in the app's environment; raise Error with the last lines of one that fails."""
        for command in self._plan.setup:
            env = self.environment()
            name, log = f"--setup {redact_input(command)}", self._folder / "setup.log"
            child = self._supervisor.start(name, words_of(command, env), cwd=Path(self._plan.cwd), env=env, log=log)
            wait_until_done(self._supervisor, child, SETUP_TIME)

    def environment(self) -> dict[str, str]:
        """Return the app's environment without the probe, which the set-up commands get as well."""
        plan = self._plan
        env = {**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"}
        if "PGHOST" in self._environment:  # a libpq service has precedence over PGHOST
            env = {name: value for name, value in env.items() if name not in LIBPQ_SERVICE}
        interpreter = Path(plan.interpreter or sys.executable)
        if plan.requirements or plan.python:
            interpreter = environment(plan.python, *plan.requirements)
        env["PATH"] = f"{interpreter.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        return env

    def __exit__(self, *_: object) -> None:
        if self.child is not None:
            self._supervisor.stop(self.child)

    def check(self) -> None:
        """Raise Error with the app's last lines if it has ended."""
        self._supervisor.check()

    def wait_until_ready(self, timeout: float = 30) -> None:
        """Wait until the app answers at its address, if it has one; raise Error with its last lines if it fails to."""
        assert self.child is not None
        if self._plan.url and self._plan.listens != "load":
            answering = accepts if self._plan.listens == "tcp" else answers
            wait_until_ready(self._supervisor, self.child, lambda: answering(self._plan.url), timeout, every=0.05)

    def processes(self) -> dict[int, str]:
        """Return {pid: command} of the app's living processes."""
        assert self.child is not None
        found: dict[int, str] = {}
        try:
            root = psutil.Process(self.child.pid)
            for process in [root, *root.children(recursive=True)]:
                try:
                    found[process.pid] = redact_input(" ".join(process.cmdline()))[:200]
                except psutil.Error:
                    continue
        except psutil.Error:
            pass
        return found

    def ports(self) -> dict[int, int]:
        """Return {local TCP port: pid} of the app's processes: a session's client_port identifies its process."""
        mine = set(self.processes())
        found: dict[int, int] = {}
        # all sockets in one call: a call per process reads the whole socket table each time
        for connection in psutil.net_connections("tcp"):
            if connection.pid in mine and connection.laddr:
                found.setdefault(connection.laddr.port, connection.pid)
        return found

    def owns(self, backend: Backend) -> bool:
        """Return whether a session's client port is a socket of one of the app's processes."""
        if backend.client_port is None or self.child is None:
            return False
        if backend.pid not in self._owned:  # once per session: a scan of all sockets takes milliseconds
            self._owned[backend.pid] = backend.client_port in self.ports()
        return self._owned[backend.pid]


class RemoteApp(NullPart):
    """An app that connleak does not start: its processes are known only through their probes."""

    started = True

    def processes(self) -> dict[int, str]:
        return {}

    def ports(self) -> dict[int, int]:
        return {}

    def owns(self, backend: Backend) -> bool:
        return False


def words_of(command: str, env: Mapping[str, str]) -> list[str]:
    """Return the words of a command with each ${NAME} replaced by its value in the environment."""
    return [expand_references(word, env) for word in shlex.split(command)]


def answers(url: str) -> bool:
    """Return whether an HTTP server gives any answer at this address."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=2)
    try:
        connection.request("GET", READY_PATH)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def accepts(url: str) -> bool:
    """Return whether anything accepts connections at this address."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((parts.hostname or "127.0.0.1", parts.port or 80)) == 0


def refuse_port_in_use(url: str) -> None:
    """Raise Error if something listens at the address before the app is started."""
    parts = urlsplit(url)
    if accepts(url):
        raise Error(
            f"port {parts.port or 80} of {parts.hostname} is in use by another program",
            f"ss -ltnp 'sport = :{parts.port or 80}'",
        )
