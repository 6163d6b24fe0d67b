"""The app as a child process, with the database's address and the probe in its environment."""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import Backend
from connleak.probe import ENTRY
from connleak.processes.supervisor import Child, Supervisor, wait_until_ready
from connleak.processes.variables import LIBPQ_SERVICE
from connleak.processes.venv import environment
from connleak.recording.redaction import expand_references, redact_input

READY_PATH = "/connleak-is-it-up"
"""Asked for until any answer comes: a 404 is one, and shows that the app itself answers, not only its port."""


class App:
    """The app under test; a context manager that ends it with all its workers."""

    def __init__(self, keeper: Supervisor, plan: Plan, folder: Path, environment: Mapping[str, str]) -> None:
        self._keeper = keeper
        self._plan = plan
        self._log = folder / "app.log"
        self._environment = environment
        self._owned: dict[int, bool] = {}
        self.child: Child | None = None

    def __enter__(self) -> App:
        plan = self._plan
        if plan.url and plan.listens != "load":
            refuse_port_in_use(plan.url)
        env = self.environment()
        if plan.probe != "off":
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ENTRY), env.get("PYTHONPATH", "")]))
        self.child = self._keeper.start("the app", words_of(plan.app, env), cwd=Path(plan.cwd), env=env, log=self._log)
        self._keeper.need(self.child)
        return self

    def environment(self) -> dict[str, str]:
        """Returns the app's environment, without the probe: also that of the commands which set it up."""
        plan = self._plan
        env = {**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"}
        if "PGHOST" in self._environment:  # libpq would read a service's host before it
            env = {name: value for name, value in env.items() if name not in LIBPQ_SERVICE}
        interpreter = Path(plan.interpreter or sys.executable)
        if plan.requirements or plan.python:
            interpreter = environment(plan.python, *plan.requirements)
        env["PATH"] = f"{interpreter.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        return env

    def __exit__(self, *_: object) -> None:
        if self.child is not None:
            self._keeper.stop(self.child)

    def wait_until_answering(self, timeout: float = 30) -> None:
        """Returns once the app answers HTTP, or lives when it has no address; else raises Error with its last lines."""
        assert self.child is not None
        if self._plan.url and self._plan.listens != "load":
            answering = accepts if self._plan.listens == "tcp" else answers
            wait_until_ready(self._keeper, self.child, lambda: answering(self._plan.url), timeout, every=0.05)

    def processes(self) -> dict[int, str]:
        """Returns {pid: command} of the app's living processes."""
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
        """Returns {local TCP port: pid} of the app's processes now: a session's client_port names its process."""
        mine = set(self.processes())
        found: dict[int, int] = {}
        # all sockets at once: asked process by process, each would read the whole table of a machine with many
        for connection in psutil.net_connections("tcp"):
            if connection.pid in mine and connection.laddr:
                found.setdefault(connection.laddr.port, connection.pid)
        return found

    def owns(self, backend: Backend) -> bool:
        """Tells whether a session's client port is a socket of one of the app's processes."""
        if backend.client_port is None or self.child is None:
            return False
        if backend.pid not in self._owned:  # asked once a session: looking through all sockets takes milliseconds
            self._owned[backend.pid] = backend.client_port in self.ports()
        return self._owned[backend.pid]


class Elsewhere:
    """An app that somebody else starts: nothing is known of its processes but what their probes say."""

    def processes(self) -> dict[int, str]:
        return {}

    def ports(self) -> dict[int, int]:
        return {}

    def owns(self, backend: Backend) -> bool:
        return False


def words_of(command: str, env: Mapping[str, str]) -> list[str]:
    """Returns the words of a command, the variables of its environment in the place of each ${NAME}."""
    return [expand_references(word, env) for word in shlex.split(command)]


def answers(url: str) -> bool:
    """Tells whether an HTTP server gives any answer at this address."""
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
    """Tells whether anything accepts connections at this address."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((parts.hostname or "127.0.0.1", parts.port or 80)) == 0


def refuse_port_in_use(url: str) -> None:
    """Raises Error when something answers at the address before the app is started."""
    parts = urlsplit(url)
    if accepts(url):
        raise Error(
            f"port {parts.port or 80} of {parts.hostname} is in use: something answers there already",
            f"ss -ltnp 'sport = :{parts.port or 80}'",
        )
