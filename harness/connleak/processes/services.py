"""Services of a target besides its database: a Redis for this run, on loopback."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from connleak.model.errors import Error
from connleak.processes.accounts import write_private
from connleak.processes.local_server import local_server
from connleak.processes.supervisor import Supervisor, last_lines


@contextlib.contextmanager
def open_services(supervisor: Supervisor, names: Sequence[str], logs: Path) -> Iterator[dict[str, str]]:
    """Start the named services; yield the environment variables with their addresses."""
    variables: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            variables |= stack.enter_context(SERVICES[name](supervisor, logs))
        yield variables


def find_service(name: str) -> str:
    """Return the path of a service's program; raise Error with the package to install."""
    program = shutil.which(f"{name}-server")
    if program is None:
        raise Error(f"no {name} server is installed on this system", f"apt-get install {name}-server", exit_code=4)
    return program


@contextlib.contextmanager
def redis(supervisor: Supervisor, logs: Path) -> Iterator[dict[str, str]]:
    """Start redis-server with a random password and without persistence; yield REDIS_URL."""
    program = find_service("redis")
    password = secrets.token_urlsafe(12)
    settings = ["bind 127.0.0.1", f"requirepass {password}", 'save ""', "appendonly no", f"dir {supervisor.scratch}"]
    configuration = supervisor.scratch / "redis.conf"  # not the command line, which every account can read
    write_private(configuration, "\n".join(settings) + "\n")
    log = logs / "redis.log"
    with local_server(
        supervisor,
        "Redis",
        lambda port: [program, str(configuration), "--port", str(port)],
        lambda port: any("eady to accept connections" in line for line in last_lines(log)),
        folder=supervisor.scratch,
        log=log,
        timeout=15,
    ) as port:
        yield {"REDIS_URL": f"redis://:{password}@127.0.0.1:{port}/0"}


SERVICES = {"redis": redis}
