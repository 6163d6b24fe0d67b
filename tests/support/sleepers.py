"""Processes that only sleep, in a family of several sessions, and a process that leaves shared memory behind."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

MINE = f"1000.{os.getpid()}"
"""Seconds that these processes sleep: a number that no other process on this machine uses."""
FAMILY = f"sleep {MINE} & (setsid sleep {MINE} &) ; (setsid sh -c 'sleep {MINE} & sleep {MINE}' &) ; sleep {MINE}"
"""Shell commands that start five of them."""
SEGMENT = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
number = libc.shmget(0, 4096, 0o1600)
libc.shmat.restype = ctypes.c_void_p
libc.shmat(number, None, 0)
print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A Python program that makes a segment of System V shared memory and kills itself."""


def sleepers() -> list[int]:
    """Return the pids of these processes that are alive."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", MINE]]


def segments() -> set[str]:
    """Return the ids of this machine's System V shared memory segments."""
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}
