"""A target of the corpus -> its plan."""

from __future__ import annotations

from pathlib import Path

from connleak.model.plan import Database, Phases, Plan
from connleak.plan import catalog
from connleak.plan.app import existing_file
from connleak.plan.options import RunOptions
from connleak.processes.ports import free_port


def target_plan(options: RunOptions) -> Plan:
    """Return the plan for a target of the corpus."""
    target, variant = catalog.find(options.target or "")
    port = free_port()
    command = variant.serve.format(host="127.0.0.1", port=port, module=variant.module)
    locustfile = options.locustfile or str(catalog.scenario(variant.scenario))
    schema = Path(target.folder, "schema.sql")
    return Plan(
        kind="target",
        target=target.name,
        variant=variant.name,
        app=command,
        cwd=target.folder,
        url=f"{'tcp' if variant.listens == 'tcp' else 'http'}://127.0.0.1:{port}" if "{port}" in variant.serve else "",
        scenario=existing_file(locustfile, "--locustfile"),
        users=variant.users,
        phases=Phases(load=variant.load_seconds),
        cycles=options.cycles,
        database=Database(kind=target.database, max_connections=variant.max_connections, settings=target.pooler),
        probe=variant.probe,
        load=variant.load or "locust",
        listens=variant.listens,
        services=target.services,
        hours=target.hours,
        sql=str(schema) if schema.exists() else "",
        requirements=variant.requirements,
        python=variant.python,
    )
