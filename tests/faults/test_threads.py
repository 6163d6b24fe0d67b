"""An error ends each of connleak's threads during a run and a watch: the verdict is never clean."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from connleak.collectors.probe_collector import Collector
from connleak.databases.registry import open_database
from connleak.databases.server import Server
from connleak.model.recording import Machine, NoteCode
from connleak.processes.sockets import listen_tcp
from connleak.processes.supervisor import Supervisor
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from support.shop import SECRET, shop_plan

SABOTEUR = """
import ctypes, json, sys, threading, time
from pathlib import Path
from connleak.processes.threads import Supervised

victim, after, log = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
seen, strangers = set(), set()


def is_connleaks(thread):
    target = getattr(thread, "_target", None)
    return (getattr(target, "__module__", "") or type(thread).__module__).startswith("connleak")


def sabotage():
    since = None
    while True:
        for thread in threading.enumerate():
            if is_connleaks(thread):
                (seen if isinstance(thread, Supervised) else strangers).add(thread.name)
            if thread.name == victim and since is None:
                since = time.monotonic()
            if thread.name == victim and since and time.monotonic() - since > after:
                since = float("inf")
                killed = ctypes.c_ulong(thread.ident), ctypes.py_object(MemoryError)
                assert ctypes.pythonapi.PyThreadState_SetAsyncExc(*killed) == 1
        part = log.with_suffix(".part")  # never half-written when the process ends
        part.write_text(json.dumps({"seen": sorted(seen), "strangers": sorted(strangers)}))
        part.replace(log)
        time.sleep(0.01)


threading.Thread(target=sabotage, name="saboteur", daemon=True).start()
sys.argv = ["connleak", *sys.argv[4:]]
from connleak.cli.main import main

main()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        Supervisor() as supervisor,
        open_database(supervisor, shop_plan(), None, tmp_path_factory.mktemp("server")) as opened,
    ):
        yield opened


def sabotaged(folder: Path, victim: str, after: float, words: list[str]) -> tuple[int, dict, dict]:
    """Return (exit code, verdict, threads seen) of a command in which an error ends one thread."""
    log = folder / "threads.json"
    argv = [sys.executable, "-c", textwrap.dedent(SABOTEUR), victim, str(after), str(log), *words, "--json"]
    done = subprocess.run(
        [*argv, "--out", str(folder / "out")], capture_output=True, text=True, timeout=120, env={**os.environ}
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), json.loads(log.read_text())


def is_reported(verdict: dict, victim: str) -> None:
    [(_, outcome, why)] = [check for check in verdict["checks"] if check[0] == "threads"]
    assert outcome == "inconclusive"
    assert f"connleak's {victim} stopped at " in why and "MemoryError" in why


@pytest.mark.parametrize("victim", ["collector", "sampler", "control"])
def test_a_run_one_of_whose_threads_ends_is_inconclusive_and_says_which(tmp_path: Path, victim: str) -> None:
    code, verdict, threads = sabotaged(tmp_path, victim, 3.0, ["run", "missing_remove:fixed"])
    assert (code, verdict["outcome"]) == (3, "inconclusive"), verdict["sentence"]
    is_reported(verdict, victim)
    assert threads == {"seen": ["collector", "control", "sampler"], "strangers": []}


@pytest.mark.parametrize("victim", ["", "collector", "sampler", "control"])
def test_a_watch_one_of_whose_threads_ends_is_inconclusive_and_says_which(
    server: Server, tmp_path: Path, victim: str
) -> None:
    words = ["watch", server.url(), "--window", "1", "--every", "0.2", "--for", "5", "--max-idle", "5"]
    with contextlib.closing(psycopg2.connect(server.url())):
        code, verdict, threads = sabotaged(tmp_path, victim, 2.0, words)
    assert threads == {"seen": ["collector", "control", "sampler"], "strangers": []}
    if not victim:
        assert (code, verdict["outcome"]) == (0, "clean"), verdict["sentence"]
        return
    assert (code, verdict["outcome"]) == (3, "inconclusive"), verdict["sentence"]
    is_reported(verdict, victim)


RELAY = """
import sys, time
probe = sys.modules["_connleak_probe"]
probe.sender.start()
time.sleep(5)
sys.exit(7)
"""


def test_a_relay_that_an_error_ends_tells_its_collector_and_its_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(RELAY)
    with (
        Writer(tmp_path / "run", shop_plan(), Machine()) as writer,
        Collector(writer, tmp_path, 0.0, tmp_path) as made,
    ):
        far = listen_tcp("127.0.0.1", 0)
        made.listen(far, SECRET["CONNLEAK_SECRET"], shop_plan())
        address = f"127.0.0.1:{far.getsockname()[1]}"
        words = ["probe", "--collector", address, "--name", "web1", "--", sys.executable, "app.py"]
        argv = [sys.executable, "-c", SABOTEUR, "relay", "1.5", str(tmp_path / "threads.json"), *words]
        done = subprocess.run(argv, cwd=tmp_path, timeout=60, capture_output=True, text=True,
                              env={**os.environ, **SECRET})  # fmt: skip
    assert (done.returncode, done.stderr) == (7, "")
    [note] = [note for note in read(tmp_path / "run").notes if note.code == NoteCode.OBSERVER_STOPPED]
    assert "relay on web1 stopped" in note.text and "MemoryError" in note.text
    assert json.loads((tmp_path / "threads.json").read_text()) == {"seen": ["relay"], "strangers": []}
