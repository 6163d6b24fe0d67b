"""The holder table of a folder: the current one of a running session, else that of the first timeout or the end."""

from __future__ import annotations

from pathlib import Path

from connleak.judging.holder_table import holder_table
from connleak.model.errors import Error
from connleak.model.recording import Recording, Snapshot
from connleak.model.verdict import Table
from connleak.recording import reader
from connleak.runner import control

LABELS = {"now": ("asked",), "exhausted": ("exhausted",), "quiet": ("quiet", "rest")}


def table(folder: Path, at: str | None = None) -> Table:
    """Return the requested table; by default the first that exists of now, exhausted, quiet."""
    command = f"connleak holders {folder} --at quiet"
    answer = control.request_table(folder) if at in (None, "now") else None
    if answer is not None and answer.error:
        raise Error(f"{folder}: {answer.error}", command)
    if answer is not None and answer.table is not None:
        return answer.table
    if at == "now":
        reader.read_plan(folder)
        raise Error(f"{folder}: no run, watch or probe records into it now", command)
    read = reader.read(folder)
    for name in [at] if at else ["exhausted", "quiet"]:
        snapshot = newest(read, name)
        if snapshot is not None:
            return Table(name, snapshot.t, snapshot.reason, holder_table(read, snapshot))
    raise Error(
        f"{folder} has no holder table{f' of {at}' if at else ''}: "
        + ("its probe was off" if read.plan.probe == "off" else "the run ended before, or no caller timed out"),
        f"connleak judge {folder}",
    )


def newest(read: Recording, at: str) -> Snapshot | None:
    """Return the latest snapshot of a name."""
    return next((s for s in reversed(read.snapshots) if s.label in LABELS[at]), None)
