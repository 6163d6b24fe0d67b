"""Exit with 1 if connleak left anything behind: processes, containers, folders, records, work trees."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
from connleak.processes.records import state_folder

found = [str(path) for place in ("/tmp", "/dev/shm") for path in Path(place).glob("connleak-*")]
found += [f"{path}: {path.read_text()}" for path in (state_folder() or Path()).glob("*.jsonl")]
MARKS = ("supervisor_main.py", "locust_plugin", "/connleak-", "-m connleak")
for process in psutil.process_iter(["pid", "cmdline"]):
    command = " ".join(process.info["cmdline"] or [])
    if any(mark in command for mark in MARKS) and "left_behind" not in command:
        found.append(f"{process.pid} {command[:120]}")
LISTS = (
    (["docker", "ps", "-aq", "--filter", "name=connleak-"], ""),
    (["ip", "netns", "list"], "connleak"),
    (["git", "worktree", "list"], "connleak-revisions-"),
)
for argv, word in LISTS:
    if shutil.which(argv[0]):
        output = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        found += [f"{argv[0]}: {line}" for line in output.splitlines() if word in line]
print("\n".join(found) or "nothing is left behind")
sys.exit(bool(found))
