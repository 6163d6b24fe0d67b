"""MySQL and MariaDB: a local MariaDB server, or an external one at an address."""

from __future__ import annotations

import contextlib
from pathlib import Path

from connleak.databases.mysql.external import external_mysql
from connleak.databases.mysql.local import local_mysql
from connleak.databases.server import Server
from connleak.model.addresses import DatabaseAddress
from connleak.model.plan import Plan
from connleak.processes.supervisor import Supervisor


def open_mysql(
    supervisor: Supervisor, plan: Plan, address: DatabaseAddress | None, logs: Path
) -> contextlib.AbstractContextManager[Server]:
    """Return the server that the plan names, with a database for this run."""
    return external_mysql(address) if address else local_mysql(supervisor, plan, logs)
