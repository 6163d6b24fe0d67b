"""PostgreSQL: a local server, one in a container, or an external one at an address."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from connleak.databases.postgres.docker import docker_postgres
from connleak.databases.postgres.external import external_postgres
from connleak.databases.postgres.local import local_postgres
from connleak.databases.postgres.sources import with_source
from connleak.databases.server import Server
from connleak.model.addresses import DatabaseAddress
from connleak.model.plan import Plan
from connleak.processes.supervisor import Supervisor


@contextlib.contextmanager
def open_postgres(supervisor: Supervisor, plan: Plan, address: DatabaseAddress | None, logs: Path) -> Iterator[Server]:
    """Yield the server that the plan names, with a database for this run; stop the one or drop the other afterwards."""
    plan, notes = with_source(plan)
    source = plan.database.source
    if address:
        opened = external_postgres(address, plan.remote)
    elif source.startswith("docker"):
        opened = docker_postgres(supervisor, plan, logs)
    else:
        opened = local_postgres(supervisor, plan, logs)
    with opened as server:
        yield replace(server, notes=(*notes, *server.notes))
