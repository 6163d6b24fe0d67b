"""Faults of connleak itself: signals, kills, disks, clocks, and a second run beside the first."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import struct
import subprocess
import time
from pathlib import Path

from support.nemeses.arena import Arena, Nemesis
from support.nemeses.server import Postgres

QUICK = 8.0
"""Seconds in which a second Ctrl-C has ended everything, on a machine that is busy with other runs."""


def signalled(number: signal.Signals):
    def attack(arena: Arena) -> None:
        arena.start_target()
        arena.moment()
        arena.victim.send_signal(number)

    return attack


def signalled_twice(arena: Arena) -> None:
    arena.start_target()
    arena.moment()
    numbers = [arena.random.choice((signal.SIGINT, signal.SIGTERM)) for _ in range(2)]
    arena.victim.send_signal(numbers[0])
    time.sleep(arena.between(0.02, 2.0))
    with contextlib.suppress(ProcessLookupError):
        arena.victim.send_signal(numbers[1])
    began = time.monotonic()
    arena.wait_until_over()
    took = time.monotonic() - began
    if took > QUICK:
        arena.row.problems.append(f"it took {took:.1f} s to end after the second signal")


def terminal_closed(arena: Arena) -> None:
    near, far = pty.openpty()
    arena.start_target(terminal=far)
    os.close(far)
    arena.drain(near)
    try:
        arena.moment()
    finally:
        os.close(near)  # the terminal is gone: the kernel sends SIGHUP to its processes


def killed(arena: Arena) -> None:
    arena.start_target()
    arena.moment()
    arena.look()
    arena.victim.kill()


def supervisor_killed(arena: Arena) -> None:
    arena.start_target()
    arena.moment()
    arena.look()
    arena.kill(arena.find(r"supervisor_main\.py")[0], signal.SIGKILL)


def stopped(arena: Arena) -> None:
    arena.start_target()
    arena.moment("baseline", "load", "load", "drain", "rest", "quiet", "collect")
    arena.victim.send_signal(signal.SIGSTOP)
    time.sleep(arena.between(0.3, 8.0))
    arena.victim.send_signal(signal.SIGCONT)


def small_disk(arena: Arena, size: str) -> None:
    disk = arena.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    arena.undo.callback(subprocess.run, ["umount", "-l", str(disk)], check=False)
    arena.out = disk / "run"


def disk_full(arena: Arena) -> None:
    by_itself = arena.random.random() < 0.3
    arena.row.facts["by itself"] = by_itself
    small_disk(arena, f"{int(arena.between(80, 900, 'KB'))}k" if by_itself else "16m")
    arena.start_target()
    if by_itself:
        arena.row.phase = "load"
        return
    arena.moment("start", "baseline", "load", "load", "drain", "rest", "quiet")
    with contextlib.suppress(OSError), (arena.folder / "disk" / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def read_only(arena: Arena) -> None:
    small_disk(arena, "1m")
    arena.row.phase = "start"
    subprocess.run(["mount", "-o", "remount,ro", str(arena.folder / "disk")], check=True)
    arena.start_target()


def clock_jumps(arena: Arena) -> None:
    """The wall clock of the whole run, or of the server alone, jumps by up to two hours; the machine's does not."""
    clock, library = arena.folder / "clock", arena.folder / "clock.so"
    clock.write_bytes(struct.pack("d", 0.0))
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl", "-lm"], check=True)
    for path, mode in ((clock, 0o644), (library, 0o755), (arena.folder, 0o755)):
        path.chmod(mode)
    env = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(clock)}
    everywhere = arena.random.random() < 0.5
    arena.row.facts["everywhere"] = everywhere
    if everywhere:
        arena.start_target(env=env)
    else:
        server = arena.undo.enter_context(Postgres(env=env))
        arena.start_target("--postgres", server.address)
    arena.moment("baseline", "load", "load", "drain", "rest", "quiet")
    by = arena.random.choice((-1, 1)) * arena.between(0.5, 7200.0)
    with clock.open("r+b") as file:
        file.write(struct.pack("d", by))


def two_at_once(arena: Arena) -> None:
    """Two runs begin together in one folder, and write into its reports/."""
    place = arena.folder / "checkout"
    place.mkdir()
    arena.start_target(cwd=place)
    arena.start_target(cwd=place)
    arena.row.phase = "all"
    arena.wait_until_over()
    runs = [path for path in (place / "reports").glob("2*") if (path / "verdict.json").exists()]
    if len(runs) != 2 or not (place / "reports" / "latest" / "verdict.json").exists():
        arena.row.problems.append(f"reports/ has {sorted(path.name for path in (place / 'reports').iterdir())}")


def resumed(arena: Arena) -> None:
    """connleak is killed, and its recording is judged while its processes are still being ended."""
    arena.start_target()
    arena.moment("load", "drain", "rest", "quiet", "collect")
    arena.look()
    arena.victim.kill()
    arena.judged()


STOPPED = r"interrupted|stopped; "
NO_END = "ended early|reached an idle window|is not a recording"
OURSELVES = (
    Nemesis("sigint", "us", "Ctrl-C once", signalled(signal.SIGINT), STOPPED),
    Nemesis("sigterm", "us", "SIGTERM", signalled(signal.SIGTERM), STOPPED),
    Nemesis("sighup", "us", "SIGHUP", signalled(signal.SIGHUP), STOPPED),
    Nemesis("sigint-twice", "us", "Ctrl-C or SIGTERM, twice within two seconds", signalled_twice, STOPPED),
    Nemesis("terminal-closed", "us", "the terminal that it runs in is closed", terminal_closed, STOPPED),
    Nemesis("connleak-killed", "us", "kill -9", killed, NO_END),
    Nemesis(
        "keeper-killed", "us", "kill -9 of the process that ends all others", supervisor_killed, "supervisor process"
    ),
    Nemesis("connleak-hung", "us", "SIGSTOP for up to eight seconds", stopped, "no sample|was not read|but needs 5"),
    Nemesis("report-disk-full", "us", "no room for the recording, from some moment on", disk_full, "No space left"),
    Nemesis("report-read-only", "us", "the folder cannot be written to", read_only, "Read-only", must="none"),
    Nemesis(
        "clock-jumps",
        "us",
        "the wall clock jumps by up to two hours, everywhere or on the server",
        clock_jumps,
        "clock jumped",
    ),
    Nemesis("two-at-once", "us", "two runs begin together in one folder", two_at_once, "", mild=True),
    Nemesis("judged-after-kill", "us", "kill -9, and judged at once", resumed, NO_END),
)
