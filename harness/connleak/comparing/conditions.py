"""What differs between runs besides what is compared: load, machine, server, versions. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from connleak.judging.facts import Facts
from connleak.model.recording import Recording

REFUSED = (
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
"""What makes figures of two runs say nothing about each other."""


def conditions(recording: Recording) -> dict[str, str]:
    """Returns what ought to be the same in every run, by name."""
    plan, machine = recording.plan, recording.machine
    server = Facts(recording).server
    return {
        "scenario": Path(plan.scenario).stem,
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


def unlike(arms: dict[str, list[Recording]]) -> Iterator[str]:
    """Yields what differs between the runs, with the values and whose they are."""
    found = {name: [conditions(recording) for recording in recordings] for name, recordings in arms.items()}
    names = dict.fromkeys(key for rows in found.values() for row in rows for key in row)
    for name in names:
        whose: dict[str, list[str]] = {}
        for arm, rows in found.items():
            for value in {row.get(name, "") for row in rows}:
                whose.setdefault(value, []).append(arm)
        if len(whose) > 1:
            told = "; ".join(f"{value or 'none'} ({', '.join(arms)})" for value, arms in whose.items())
            yield f"{name}: {told}"


def refusal(told: list[str]) -> list[str]:
    """Returns those of the differences that forbid a comparison."""
    return [words for words in told if words.split(":")[0] in REFUSED]
