"""However connleak ends, no process and no folder of its own is left, and the recording can be judged."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.reproduction

SEED = int(os.environ.get("CONNLEAK_FAULT_SEED", "1"))
MOMENTS = [round(random.Random(SEED).uniform(0.2, 14.0), 1) for _ in range(20)]


class Victim:
    """A running connleak, with what it has started."""

    def __init__(self, out: Path, *words: str) -> None:
        self.out = out
        words = words or ("run", "missing_remove:buggy", "--json")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "connleak", *words, "--out", str(out)],
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
        """Returns the scratch folders that its processes name in their command lines and environments."""
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
    """Returns the processes that still live after ten seconds."""
    _, alive = psutil.wait_procs(family, timeout=10)
    return [f"{process.pid} {process.name()}" for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def wait_until_gone(folders: set[Path]) -> set[Path]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(folder.exists() for folder in folders):
        time.sleep(0.05)
    return {folder for folder in folders if folder.exists()}


def judged(out: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "connleak", "judge", str(out), "--json"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    if not (out / "plan.json").exists():  # killed before the first byte
        assert done.returncode == 2 and "is no recording" in done.stderr
        return {"outcome": "inconclusive"}
    assert done.returncode in (0, 1, 3), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_with_minus_9_nothing_is_left_and_the_recording_can_be_judged(moment: float, tmp_path: Path) -> None:
    victim = Victim(tmp_path / "run")
    time.sleep(moment)
    family = victim.family()
    folders = victim.folders(family)
    victim.process.kill()
    victim.process.communicate()
    assert gone(family) == []
    assert wait_until_gone(folders) == set()
    assert judged(tmp_path / "run")["outcome"] in ("inconclusive", "leak")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_it_stops_everything_and_judges_what_there_is(number: int, tmp_path: Path) -> None:
    victim = Victim(tmp_path / "run")
    deadline = time.monotonic() + 30
    while (
        not (tmp_path / "run" / "requests.jsonl").exists() or not (tmp_path / "run" / "requests.jsonl").stat().st_size
    ):
        assert time.monotonic() < deadline and victim.process.poll() is None
        time.sleep(0.1)
    family = victim.family()
    folders = victim.folders(family)
    victim.process.send_signal(number)
    stdout, stderr = victim.process.communicate(timeout=30)
    assert "Traceback" not in stderr
    verdict = json.loads(stdout)
    assert verdict["outcome"] == "inconclusive"
    assert victim.process.returncode == 3
    assert any("interrupted in phase" in note for note in verdict["evidence"]["notes"])
    assert gone(family) == []
    assert wait_until_gone(folders) == set()
    assert judged(tmp_path / "run") == verdict


def test_an_app_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import no_such_module\n")
    done = subprocess.run(
        [sys.executable, "-m", "connleak", "run", "--app", f"{sys.executable} shop.py", "--cwd", str(tmp_path),
         "--url", "http://127.0.0.1:9", "--out", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert "ended with exit code 1 before it was ready" in done.stderr
    assert "No module named 'no_such_module'" in done.stderr
    assert "Traceback (most recent call last):\n  File" not in done.stderr.replace("    Traceback", "")


def test_an_app_that_dies_under_load_is_inconclusive_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import os, sys\nfrom flask import Flask\nfrom sqlalchemy import create_engine, text\n"
        "app = Flask(__name__)\nengine = create_engine(os.environ['DATABASE_URL'])\nserved = []\n"
        "@app.get('/')\ndef index():\n    served.append(1)\n    len(served) > 200 and os._exit(9)\n"
        "    with engine.connect() as connection:\n        return str(connection.scalar(text('SELECT 1')))\n"
        "app.run(port=int(sys.argv[1]), threaded=True)\n"
    )
    from connleak.parts.process import free_port

    port = free_port()
    done = subprocess.run(
        [sys.executable, "-m", "connleak", "run", "--app", f"{sys.executable} shop.py {port}", "--cwd", str(tmp_path),
         "--url", f"http://127.0.0.1:{port}", "--json", "--out", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["outcome"]) == (3, "inconclusive")
    assert any("ended with exit code 9" in note for note in verdict["evidence"]["notes"])


def test_a_locustfile_that_raises_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('my locustfile')\n")
    done = subprocess.run(
        [sys.executable, "-m", "connleak", "run", "missing_remove", "--locustfile", str(tmp_path / "broken.py"),
         "--out", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert "ValueError: my locustfile" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_corpus_begins_no_further_run_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    victim = Victim(tmp_path / "runs", "corpus", "-k", "missing_remove", "--jobs", "2")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(victim.out.glob("*/requests.jsonl"))) < 2:
        time.sleep(0.1)
    family = victim.family()
    folders = victim.folders(family)
    begun = {path.name for path in victim.out.iterdir()}
    os.killpg(victim.process.pid, number)
    _, said = victim.process.communicate(timeout=20)
    assert victim.process.returncode == 130 and "interrupted" in said, said
    assert (gone(family), wait_until_gone(folders)) == ([], set())
    assert {path.name for path in victim.out.iterdir()} == begun
