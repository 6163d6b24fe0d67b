"""The probe in every Python from 3.8 to 3.13 and SQLAlchemy from 1.4 to 2.1, where connleak is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import wait_until
from connleak.cache import build_once, cache_folder
from connleak.parts.databases import Server
from connleak.parts.process import Keeper
from connleak.recording import Writer
from lab import Lab

pytestmark = pytest.mark.matrix

MATRIX = [
    ("3.8", "1.4.54"),
    ("3.8", "2.0.58"),
    ("3.9", "2.0.58"),
    ("3.10", "1.4.54"),
    ("3.11", "1.4.54"),
    ("3.12", "2.1.9"),
    ("3.13", "2.0.58"),
    ("3.13", "2.1.9"),
]
SCRIPT = """
import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.exc import TimeoutError
engine = create_engine(URL, pool_size=2, max_overflow=1, pool_timeout=0.2)
kept = []
def view():
    kept.append(engine.connect())  # worker
    kept[-1].execute(text("SELECT 1"))
def deeper():
    return [
        connection
        for connection in [engine.connect()]  # comprehension
    ]
worker = threading.Thread(target=view, name="worker-7")
worker.start(); worker.join()
engine.connect().close()
kept.append(deeper())
direct = psycopg2.connect(URL.replace("+psycopg2", ""))  # direct
last = engine.connect()
try:
    engine.connect()  # waits
except TimeoutError:
    pass
last.close()
gc.disable()
class Holder: pass
def leak():
    holder = Holder()
    holder.me, holder.connection = holder, engine.connect()
leak()
if os.fork() == 0:
    engine.pool = engine.pool.recreate()
    childs = engine.connect()  # child
    time.sleep(100)
"""


@pytest.fixture
def lab(server: Server, writer: Writer, keeper: Keeper, tmp_path: Path) -> Iterator[Lab]:
    folder = tmp_path / "app"
    folder.mkdir()
    with ExitStack() as stack:
        yield Lab(server, writer, keeper, folder, stack)


def find_python(version: str) -> str:
    """Returns an interpreter of a version, on PATH or from pyenv; fails under CI when there is none."""
    candidates = [shutil.which(f"python{version}") or ""]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "-c", "import sys, venv, ensurepip"], capture_output=True, check=False)
        if done.returncode == 0 and f"/{version}." in str(Path(candidate).resolve()) + f"/{version}.":
            return candidate
    if os.environ.get("CI"):
        pytest.fail(f"no Python {version} here, and CI may not skip")
    pytest.skip(f"no Python {version} on PATH or in pyenv: pyenv install {version}")


def environment(version: str, sqlalchemy: str) -> Path:
    """Returns the interpreter of a kept virtual environment with that SQLAlchemy and psycopg2."""

    def build(folder: Path) -> None:
        subprocess.run([find_python(version), "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
        pip = [
            str(folder / "venv" / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, f"sqlalchemy=={sqlalchemy}", "psycopg2-binary"], check=True, capture_output=True)

    return build_once(cache_folder() / f"matrix-{version}-{sqlalchemy}", build) / "venv" / "bin" / "python"


@pytest.mark.parametrize(("version", "sqlalchemy"), MATRIX)
def test_the_probe_tells_the_same_in_every_python_and_sqlalchemy(lab: Lab, version: str, sqlalchemy: str) -> None:
    python = environment(version, sqlalchemy)
    lab.start(SCRIPT, python=(str(python),))
    wait_until(lambda: len(lab.snapshot().holders) == 5, f"five holders, not {lab.snapshot().holders}")
    holders = {holder.site.line: holder for holder in lab.snapshot().holders}
    workers = holders[lab.line("worker")]
    assert (workers.site.function, workers.thread_name, workers.thread_alive) == ("view", "worker-7", False)
    assert holders[lab.line("comprehension")].site.function == "deeper"
    assert holders[lab.line("direct")].source == "direct"
    assert lab.line("child") in holders
    (gave_up,) = lab.events("timeout", 1)
    assert gave_up.site.line == lab.line("waits") and gave_up.nested
    came_back, silent = lab.collector.collect()
    assert (came_back, silent) == (1, 0)
    assert not any(process.dropped for process in lab.snapshot().processes)
    os.kill(holders[lab.line("child")].process, 9)
