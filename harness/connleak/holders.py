"""The holder table of a run's folder: of now while the run goes on, afterwards of its first refusal or its end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec
import psutil

from connleak import folders, recording
from connleak.judge.table import holder_table
from connleak.model import Error, Recording, Snapshot, Struct
from connleak.verdict import HolderRow

PATIENCE = 6.0
LABELS = {"now": ("asked",), "exhausted": ("exhausted",), "quiet": ("quiet", "rest")}


class Table(Struct, frozen=True):
    """Who had which session at a moment of a recording; `at` is now, exhausted or quiet."""

    at: str
    t: float
    reason: str
    holders: tuple[HolderRow, ...]


def table(folder: Path, at: str | None = None) -> Table:
    """Returns the table that was asked for; by default the first there is of now, exhausted, quiet."""
    runner = process_of(folder)
    if at == "now" and runner is None:
        raise Error(f"{folder}: this run has ended, nobody can be asked", f"connleak holders {folder} --at quiet")
    if runner is not None and at in (None, "now"):
        ask(folder, runner)
        at = "now"
    read = recording.read(folder)
    for name in [at] if at else ["exhausted", "quiet"]:
        snapshot = newest(read, name)
        if snapshot is not None:
            return Table(name, snapshot.t, snapshot.reason, holder_table(read, snapshot))
    raise Error(
        f"{folder} has no holder table{f' of {at}' if at else ''}: "
        + ("its probe was off" if read.plan.probe == "off" else "the run did not get that far, or nobody was refused"),
        f"connleak judge {folder}",
    )


def newest(read: Recording, at: str) -> Snapshot | None:
    """Returns the newest snapshot of a name."""
    return next((s for s in reversed(read.snapshots) if s.label in LABELS[at]), None)


def process_of(folder: Path) -> int | None:
    """Returns the pid of the connleak that records into the folder now, None when it has ended."""
    recording.read_plan(folder)
    pid = recording.read_machine(folder).pid
    try:
        process = psutil.Process(pid) if pid > 0 else None
        open_files = {Path(file.path) for file in process.open_files()} if process else set()
    except psutil.Error:
        return None
    own = folder.resolve() / "phases.jsonl"  # not what a link of that name leads to: whoever has that open is no run
    return pid if own in open_files else None


def ask(folder: Path, pid: int) -> None:
    """Has the run take a snapshot now, and returns once it is written."""
    path = folder / "snapshots.jsonl"
    before = len(folders.read(path, folders.STREAM))
    os.kill(pid, signal.SIGUSR2)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        data = folders.read(path, folders.STREAM)[before:]
        for line in data.split(b"\n")[:-1]:
            if msgspec.json.decode(line, type=Snapshot).label == "asked":
                return
        time.sleep(0.05)
    raise Error(
        f"{folder}: the run (pid {pid}) did not answer within {PATIENCE:.0f} s", f"connleak holders {folder} --at quiet"
    )
