"""PostgreSQL in a container, through testcontainers; the keeper removes it, however connleak ends."""

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

from connleak.databases.accounts import SUPERUSER
from connleak.databases.postgres.binaries import DATABASE
from connleak.databases.postgres.libpq import undone
from connleak.databases.postgres.local import SETTINGS, hand_over_database
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.processes.hosts import is_loopback
from connleak.processes.supervisor import Keeper
from connleak.processes.threads import Supervised

NEWEST = "postgres:18"
"""The image where none is named and the engine has none of PostgreSQL's."""
REMOVE = (
    "import sys\nfrom testcontainers.core.docker_client import DockerClient\n"
    "for found in DockerClient().client.containers.list(all=True, filters={'name': sys.argv[1]}):\n"
    "    found.remove(force=True, v=True)\n"
    "    print(found.name)\n"
)
PORT = 5432


@contextlib.contextmanager
def docker_postgres(keeper: Keeper, plan: Plan, logs: Path) -> Iterator[Server]:
    """Starts a container of the image that the plan names (`docker:postgres:15`), with what our own servers get."""
    with contextlib.closing(engine()) as client:
        image = plan.database.source.partition(":")[2] or newest_of(client)
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.config import testcontainers_config

    testcontainers_config.ryuk_disabled = True  # the keeper does it, and needs no second container for it
    password = secrets.token_urlsafe(18)
    container = PostgresContainer(image, username=SUPERUSER, password=password, dbname=DATABASE, driver=None)
    with contextlib.closing(container.get_docker_client().client):
        admin = start(keeper, container, plan.database.max_connections, logs)
        admin = undone({**admin, "user": SUPERUSER, "password": password, "application_name": "connleak"})
        yield replace(hand_over_database(admin, plan.database.source), proxied=True)


def start(keeper: Keeper, container: Any, max_connections: int, logs: Path) -> dict[str, Any]:
    """Starts a container, on loopback where the engine is on this machine; returns its host and port."""
    host = container.get_docker_client().host().replace("localhost", "127.0.0.1")
    container.ports = {PORT: ("127.0.0.1", None) if is_loopback(host) else None}
    settings = {**SETTINGS, "max_connections": str(max_connections)}
    words = [word for setting, value in settings.items() for word in ("-c", f"{setting}={value}")]
    name = f"connleak-{secrets.token_hex(6)}"
    container.with_name(name).with_command(["postgres", *words])
    keeper.run_at_end(f"container {name}", [sys.executable, "-P", "-c", REMOVE, name])
    try:
        container.start()
        follow(keeper, container.get_wrapped_container(), logs / "postgres.log")
        return {"host": host, "port": container.get_exposed_port(PORT)}
    except Exception as error:  # the engine's, the image's, or the server's that does not become ready
        image = container.image
        raise Error(f"{image} could not be started: {last_words(container, error)}", f"docker pull {image}") from None


def engine() -> Any:
    """Returns the Docker engine's client; raises Error with what to do where none answers."""
    hint = "start Docker or set DOCKER_HOST, or: connleak run ... --postgres auto"
    try:
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        raise Error("--postgres docker takes testcontainers", "pip install 'connleak[lab]'", exit_code=4) from None
    client = None
    try:
        client = DockerClient().client
        client.ping()
    except Exception as error:
        if client is not None:
            client.close()
        words = (re.findall(r"'([^']+)'", str(error)) or [str(error)])[-1]
        where = os.environ.get("DOCKER_HOST", "the usual socket")
        raise Error(f"no Docker engine answers at {where}: {words}", hint, exit_code=4) from None
    return client


def newest_of(client: Any) -> str:
    """Returns the newest image of PostgreSQL's that the engine already has, else the newest there is."""
    tags = [tag for image in client.images.list("postgres") for tag in image.tags if tag.startswith("postgres:")]
    versions = [int(number) for tag in tags if (number := tag.partition(":")[2].partition(".")[0]).isdecimal()]
    return f"postgres:{max(versions)}" if versions else NEWEST


def follow(keeper: Keeper, container: Any, log: Path) -> None:
    """Writes what the server says into a file, as it says it."""

    def copy() -> None:
        with log.open("ab", buffering=0) as file:
            try:
                for chunk in container.logs(stream=True, follow=True):
                    file.write(chunk)
            except Exception:
                if is_running(container):
                    raise

    Supervised("container's log", copy, lambda name, error: keeper.stopped.append((name, error))).start()


def is_running(container: Any) -> bool:
    """Tells whether a container lives: the end of its log is one only then."""
    try:
        container.reload()
    except Exception:
        return False
    return bool(container.status == "running")


def last_words(container: Any, error: Exception) -> str:
    """Returns what the engine said, and the last lines of the server's own."""
    words = str(getattr(error, "explanation", "") or error).strip() or repr(error)
    with contextlib.suppress(Exception):
        said = b"".join(container.get_logs()).decode("utf-8", "replace").splitlines()[-5:]
        words += "".join(f"\n    {line}" for line in said)
    return words
