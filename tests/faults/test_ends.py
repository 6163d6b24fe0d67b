"""An interrupted corpus begins no further run and leaves no process and no folder; single runs: test_nemeses.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from support.cli import command
from support.poll import wait_until


class Victim:
    """A running connleak and its processes."""

    def __init__(self, out: Path, *words: str) -> None:
        self.out = out
        self.process = subprocess.Popen(
            command(*words, "--out", str(out)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def folders(self, family: list[psutil.Process]) -> set[Path]:
        """Return the scratch folders in the command lines and environments of its processes."""
        found: set[Path] = set()
        for process in family:
            try:
                words = [*process.cmdline(), *process.environ().values()]
            except psutil.Error:
                continue
            for word in words:
                found |= {Path(name) for name in re.findall(r"/(?:tmp|dev/shm)/connleak-[^/]+", word)}
        return found


def gone(family: list[psutil.Process]) -> list[str]:
    """Return the processes that still run after ten seconds."""
    _, alive = psutil.wait_procs(family, timeout=10)
    return [f"{process.pid} {process.name()}" for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def wait_until_gone(folders: set[Path]) -> set[Path]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(folder.exists() for folder in folders):
        time.sleep(0.05)
    return {folder for folder in folders if folder.exists()}


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 2)])
def test_an_interrupted_corpus_begins_no_further_run_and_leaves_nothing(tmp_path: Path, number: int, jobs: int) -> None:
    victim = Victim(tmp_path / "runs", "corpus", "-k", "missing_remove", "--jobs", str(jobs))
    wait_until(lambda: len(list(victim.out.glob("*/requests.jsonl"))) >= jobs, f"{jobs} runs have requests", timeout=60)
    family = victim.family()
    folders = victim.folders(family)
    begun = {path.name for path in victim.out.iterdir()}
    os.killpg(victim.process.pid, number)
    try:
        _, output = victim.process.communicate(timeout=20)
    finally:
        victim.process.kill()
    assert victim.process.returncode == 130 and "interrupted" in output, output
    assert (gone(family), wait_until_gone(folders)) == ([], set())
    assert {path.name for path in victim.out.iterdir()} == begun
