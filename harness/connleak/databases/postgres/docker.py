"""PostgreSQL in a container, through testcontainers; the supervisor removes it, however connleak ends."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from connleak.databases.postgres.connection import DATABASE, SETTINGS, SUPERUSER, hand_over_database
from connleak.databases.postgres.libpq import without_environment
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.processes.hosts import is_loopback
from connleak.processes.supervisor import Supervisor
from connleak.processes.threads import Supervised

NEWEST = "postgres:18"
"""The image if the plan names none and the engine has none of PostgreSQL."""
REMOVE = (
    "import sys\nfrom testcontainers.core.docker_client import DockerClient\n"
    "for found in DockerClient().client.containers.list(all=True, filters={'name': sys.argv[1]}):\n"
    "    found.remove(force=True, v=True)\n"
    "    print(found.name)\n"
)
"""A program that removes the containers of a name and prints it."""
PORT = 5432
"""PostgreSQL's port in the container."""


@contextlib.contextmanager
def docker_postgres(supervisor: Supervisor, plan: Plan, logs: Path) -> Iterator[Server]:
    """Start a container of the plan's image (`docker:postgres:15`), set up as a local server is."""
    with contextlib.closing(engine()) as client:
        image = plan.database.source.partition(":")[2] or newest_of(client)
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.config import testcontainers_config

    testcontainers_config.ryuk_disabled = True  # the supervisor removes the container, and needs no second one for that
    password = secrets.token_urlsafe(18)
    container = PostgresContainer(image, username=SUPERUSER, password=password, dbname=DATABASE, driver=None)
    with contextlib.closing(container.get_docker_client().client):
        admin = start(supervisor, container, plan.database.max_connections, logs)
        admin = without_environment({**admin, "user": SUPERUSER, "password": password, "application_name": "connleak"})
        yield replace(hand_over_database(admin, plan.database.source), proxied=True)


def start(supervisor: Supervisor, container: Any, max_connections: int, logs: Path) -> dict[str, Any]:
    """Start a container and return its host and port: on loopback if the engine is on this machine."""
    host = container.get_docker_client().host().replace("localhost", "127.0.0.1")
    container.ports = {PORT: ("127.0.0.1", None) if is_loopback(host) else None}
    settings = {**SETTINGS, "max_connections": str(max_connections)}
    options = [word for setting, value in settings.items() for word in ("-c", f"{setting}={value}")]
    name = f"connleak-{secrets.token_hex(6)}"
    container.with_name(name).with_command(["postgres", *options])
    supervisor.run_at_end(f"container {name}", [sys.executable, "-P", "-c", REMOVE, name])
    try:
        container.start()
        follow(supervisor, container.get_wrapped_container(), logs / "postgres.log")
        return {"host": host, "port": container.get_exposed_port(PORT)}
    except Exception as error:  # of the engine, of the image, or of a server that does not become ready
        image = container.image
        raise Error(f"{image} could not be started: {failure_of(container, error)}", f"docker pull {image}") from None


def engine() -> Any:
    """Return a client of the Docker engine; raise Error with the next step if none answers."""
    hint = "start Docker or set DOCKER_HOST, or: connleak run ... --postgres auto"
    try:
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        raise Error("--postgres docker needs testcontainers", "pip install 'connleak[lab]'", exit_code=4) from None
    client = None
    try:
        client = DockerClient().client
        client.ping()
    except Exception as error:
        if client is not None:
            client.close()
        reason = (re.findall(r"'([^']+)'", str(error)) or [str(error)])[-1]
        where = os.environ.get("DOCKER_HOST", "the usual socket")
        raise Error(f"no Docker engine answers at {where}: {reason}", hint, exit_code=4) from None
    return client


def newest_of(client: Any) -> str:
    """Return the newest PostgreSQL image that the engine already has, or NEWEST."""
    tags = [tag for image in client.images.list("postgres") for tag in image.tags if tag.startswith("postgres:")]
    versions = [int(number) for tag in tags if (number := tag.partition(":")[2].partition(".")[0]).isdecimal()]
    return f"postgres:{max(versions)}" if versions else NEWEST


def follow(supervisor: Supervisor, container: Any, log: Path) -> None:
    """Copy the container's log into a file as it grows."""

    def copy() -> None:
        with log.open("ab", buffering=0) as file:
            try:
                for chunk in container.logs(stream=True, follow=True):
                    file.write(chunk)
            except Exception:
                if is_running(container):
                    raise

    Supervised("container's log", copy, lambda name, error: supervisor.stopped.append((name, error))).start()


def is_running(container: Any) -> bool:
    """Return whether a container runs: if so, the end of its log stream is an error."""
    try:
        container.reload()
    except Exception:
        return False
    return bool(container.status == "running")


def failure_of(container: Any, error: Exception) -> str:
    """Return the engine's message and the last lines of the container's log."""
    message = str(getattr(error, "explanation", "") or error).strip() or repr(error)
    with contextlib.suppress(Exception):
        lines = b"".join(container.get_logs()).decode("utf-8", "replace").splitlines()[-5:]
        message += "".join(f"\n    {line}" for line in lines)
    return message
