"""Fails when a process, container or folder of connleak's is still there: a tool that looks for leaks leaves none."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil

found = [str(path) for place in ("/tmp", "/dev/shm") for path in Path(place).glob("connleak-*")]
MARKS = ("keeper.py", "locust_plugin", "/connleak-", "-m connleak")
for process in psutil.process_iter(["pid", "cmdline"]):
    words = " ".join(process.info["cmdline"] or [])
    if any(mark in words for mark in MARKS) and "left_behind" not in words:
        found.append(f"{process.pid} {words[:120]}")
for argv in (["docker", "ps", "-aq", "--filter", "name=connleak-"], ["ip", "netns", "list"]):
    if shutil.which(argv[0]):
        said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        found += [f"{argv[0]}: {line}" for line in said.splitlines() if argv[0] == "docker" or "connleak" in line]
print("\n".join(found) or "nothing is left behind")
sys.exit(bool(found))
