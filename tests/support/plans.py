"""Plans for tests: of a run that is built by hand, and of a real database server."""

from __future__ import annotations

from connleak.model.plan import Database, Phases, Plan


def plan(**changes: object) -> Plan:
    """Return the plan of a recording that is built by hand."""
    values: dict = {
        "kind": "target",
        "target": "shop",
        "variant": "buggy",
        "app": "gunicorn app:app",
        "cwd": "/nowhere",
        "url": "http://127.0.0.1:1",
        "scenario": "steady_load.py",
        "users": 4,
        "phases": Phases(),
        "cycles": 3,
        "database": Database(max_connections=100),
    }
    return Plan(**{**values, **changes})


def server_plan(kind: str = "postgresql", max_connections: int = 20, **changes: object) -> Plan:
    """Return the plan of a real, small database server and of no app or load."""
    values: dict = {
        "app": "true",
        "cwd": "/",
        "url": "",
        "scenario": "",
        "users": 1,
        "cycles": 1,
        "database": Database(kind=kind, max_connections=max_connections),
    }
    return plan(**{**values, **changes})
