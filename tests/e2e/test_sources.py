"""Runs on external databases, with workers, and as a build's gate, by the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from connleak.model.recording import NoteCode
from connleak.plan import catalog
from connleak.processes.ports import free_port
from connleak.recording import reader
from support.cli import command, connleak
from support.poll import wait_until

SHOP = """
import os
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=20)
basket = []


@app.get("/")
def orders():
    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    if len(basket) < KEEP:
        basket.append(connection)  # kept for later
    else:
        connection.close()
    return "x"
"""
LINE = 1 + SHOP.splitlines().index("    connection = engine.connect()")


def containers() -> set[str]:
    argv = ["docker", "ps", "-aq", "--filter", "name=connleak-"]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.needs("docker")
@pytest.mark.parametrize("phase", ["start", "load", "rest"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_container_is_left_when_a_run_in_one_is_ended(number: int, phase: str, tmp_path: Path) -> None:
    before = containers()
    argv = command("run", "missing_remove:buggy", "--postgres", "docker:postgres:15", "--json")
    victim = subprocess.Popen([*argv, "--out", str(tmp_path / "run")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    phases = tmp_path / "run" / "phases.jsonl"
    wait_until(
        lambda: phases.exists() and f'"{phase}"' in phases.read_text() and containers() - before,
        f"the container's run is in {phase}",
        timeout=60,
        process=victim,
    )
    victim.send_signal(number)
    victim.communicate(timeout=60)
    wait_until(lambda: not containers() - before, "the container is removed", timeout=30)


def variants() -> list[str]:
    return list(catalog.targets()["missing_remove"].variants)


@pytest.mark.needs("docker")
@pytest.mark.parametrize("variant", variants())
def test_every_variant_of_missing_remove_in_a_container(variant: str, tmp_path: Path) -> None:
    expected = catalog.targets()["missing_remove"].variants[variant]
    words = ("--postgres", "docker:postgres:15", "--json", "--out", str(tmp_path / "run"))
    done = connleak("run", f"missing_remove:{variant}", *words)
    verdict = json.loads(done.stdout)
    assert verdict["outcome"] == expected.expect, (verdict["sentence"], done.stderr)
    assert set(expected.kinds) <= {finding["kind"] for finding in verdict["findings"]}
    read = reader.read(tmp_path / "run")
    assert read.phases[1].facts["version"].startswith("15.")


def run(folder: Path, *words: str, keep: int = 0) -> tuple[int, dict, Path]:
    """Return (exit code, verdict, the run's folder) of a run of the shop."""
    (folder / "shop.py").write_text(SHOP.replace("KEEP", str(keep)))
    port = free_port()
    done = connleak(
        "run", "--app", f"{sys.executable} -m flask --app shop run --port {port}", "--url", f"http://127.0.0.1:{port}",
        "--cwd", str(folder), "--users", "5", "--cycles", "2", "--json", "--out", str(folder / "run"), *words,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), folder / "run"


@pytest.mark.parametrize(
    ("source", "keep", "outcome"),
    [
        pytest.param(("--mysql", "system"), 3, "leak", marks=pytest.mark.needs("mariadb")),
        pytest.param(("--pgbouncer", "session"), 3, "leak", marks=pytest.mark.needs("pgbouncer")),
        pytest.param(("--pgbouncer", "transaction"), 0, "clean", marks=pytest.mark.needs("pgbouncer")),
    ],
)
def test_an_app_of_ones_own_on_mariadb_and_behind_pgbouncer(
    source: tuple[str, str], keep: int, outcome: str, tmp_path: Path
) -> None:
    _, verdict, folder = run(tmp_path, *source, keep=keep)
    assert verdict["outcome"] == outcome, verdict["sentence"]
    if keep:
        found = verdict["findings"][0]
        assert (found["sites"][0]["line"], len(found["backends"])) == (LINE, 3)
    assert reader.read(folder).plan.database.kind == {"--mysql": "mysql", "--pgbouncer": "pgbouncer"}[source[0]]


def test_with_workers_of_ours_each_request_is_recorded(tmp_path: Path) -> None:
    code, verdict, folder = run(tmp_path, "--workers", "2", "--load", "3")
    assert (code, verdict["outcome"]) == (0, "clean"), verdict["sentence"]
    read = reader.read(folder)
    drains = [phase.facts["requests"] for phase in read.phases if phase.name == "drain"]
    assert drains[-1] == len(read.requests) > 50
    assert not any(note.code == NoteCode.REQUESTS_ESTIMATED for note in read.notes)


PROJECT = """
app = "{python} -m flask --app shop run --port {port}"
url = "http://127.0.0.1:{port}"
users = 5
cycles = 2
"""
SUPPRESSION = """
[[suppressions]]
kind = "held"
file = "shop.py"
function = "orders"
reason = "SHOP-12: the basket keeps its first three"
expires = {expires}
"""


@pytest.mark.parametrize(
    ("expires", "code"),
    [("2999-01-31", 0), ("2020-01-31", 1), ("", 1)],
    ids=["suppressed", "expired", "not suppressed"],
)
def test_a_builds_gate(expires: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP.replace("KEEP", "3"))
    suppression = SUPPRESSION.format(expires=expires) if expires else ""
    (tmp_path / "connleak.toml").write_text(PROJECT.format(python=sys.executable, port=free_port()) + suppression)
    summary = tmp_path / "summary.md"
    env = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_WORKSPACE": str(tmp_path),
    }
    done = connleak("check", "--json", "--out", "out", cwd=tmp_path, env=env)
    assert done.returncode == code, done.stderr
    root = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    assert bool(root.findall(".//failure")) == bool(code)
    results = json.loads((tmp_path / "out" / "connleak.sarif").read_text())["runs"][0]["results"]
    assert len(results) == code
    assert ("::error file=shop.py" in done.stderr) == bool(code)
    assert summary.exists()
    expected = {"2999-01-31": "suppressed: held", "2020-01-31": "suppression expired", "": "held"}[expires]
    assert expected in done.stderr + done.stdout


def test_run_without_words_does_what_the_project_says(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP.replace("KEEP", "0"))
    (tmp_path / "connleak.toml").write_text(PROJECT.format(python=sys.executable, port=free_port()))
    done = connleak("run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CLEAN" in done.stdout and f"options: {tmp_path / 'connleak.toml'}; it runs (shown once):" in done.stderr
    assert (tmp_path / "reports" / "latest" / "report.html").exists()
