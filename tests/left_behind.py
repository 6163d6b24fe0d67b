"""Fails when a process or a scratch folder of connleak's is still there: a tool that looks for leaks leaves none."""

import sys
from pathlib import Path

import psutil

found = [str(path) for place in ("/tmp", "/dev/shm") for path in Path(place).glob("connleak-*")]
MARKS = ("keeper.py", "locust_plugin", "/connleak-", "-m connleak")
for process in psutil.process_iter(["pid", "cmdline"]):
    words = " ".join(process.info["cmdline"] or [])
    if any(mark in words for mark in MARKS) and "left_behind" not in words:
        found.append(f"{process.pid} {words[:120]}")
print("\n".join(found) or "nothing is left behind")
sys.exit(bool(found))
