"""Conditions that should be the same in every compared run: load, machine, server, versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from connleak.judging.facts import Facts
from connleak.model.comparison import DifferingCondition
from connleak.model.recording import Recording

FORBIDDING = (
    "scenario",
    "users",
    "load",
    "listens",
    "seconds of each load",
    "database",
    "max_connections",
    "seed",
    "cores",
)
"""Conditions without which the figures of two runs cannot be compared."""


def conditions(recording: Recording) -> dict[str, str]:
    """Return the values of all conditions by name."""
    plan, machine = recording.plan, recording.machine
    server = Facts(recording).server
    return {
        "scenario": PurePath(plan.scenario).stem,
        "users": str(plan.users),
        "load": plan.load,
        "listens": plan.listens,
        "seconds of each load": f"{plan.phases.load:g}",
        "seed": str(plan.seed),
        "database": plan.database.kind,
        "max_connections": str(plan.database.max_connections),
        "cores": str(machine.cores),
        "probe": plan.probe,
        "gc": plan.gc,
        "cycles": str(plan.cycles),
        "server version": str(server.get("version", "")),
        "settings of the pooler": str(dict(plan.database.settings)),
        "memory (GB)": str(round(machine.memory / 2**30)),
        "system": machine.system,
        "Python": machine.python,
        "connleak": plan.tool_version,
        "requirements": " ".join(plan.requirements),
        **{f"package {name}": version for name, version in machine.packages.items()},
    }


def differing_conditions(arms: dict[str, list[Recording]]) -> Iterator[DifferingCondition]:
    """Yield each condition that has several values, with the arms that have each of them."""
    found = {name: [conditions(recording) for recording in recordings] for name, recordings in arms.items()}
    names = dict.fromkeys(key for rows in found.values() for row in rows for key in row)
    for name in names:
        arms_by_value: dict[str, list[str]] = {}
        for arm, rows in found.items():
            for value in dict.fromkeys(row.get(name, "") for row in rows):
                arms_by_value.setdefault(value, []).append(arm)
        if len(arms_by_value) > 1:
            values = {value: tuple(arms) for value, arms in arms_by_value.items()}
            yield DifferingCondition(name=name, values=values, forbids=name in FORBIDDING)


def format_condition(condition: DifferingCondition) -> str:
    """Return a differing condition as `users: 4 (buggy); 9 (fixed)`."""
    values = (f"{value or 'none'} ({', '.join(arms)})" for value, arms in condition.values.items())
    return f"{condition.name}: {'; '.join(values)}"
