"""The verdict comes before the charts: it and its exit code do not depend on whether they can be drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from connleak.processes.ports import free_port

APP = """
import os, sys
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://"), pool_size=20)
kept = []


@app.get("/<path:words>")
def answer(words):
    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    if len(kept) < 6:
        kept.append(connection)
    else:
        connection.close()
    return "ok"


app.run(port=int(sys.argv[1]), threaded=True)
"""
WITH = """
import sys
from connleak.runner import chart_process
from connleak.cli.main import main
chart_process.CHILD = [sys.executable, "-c", {child!r}]
main()
"""
UNDRAWN = {
    "killed": ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    "aborted": ("import os; os.abort()", "ended by SIGABRT"),
    "without its library": (
        "import sys; sys.modules['altair'] = None; from connleak.runner import chart_process; chart_process.main()",
        "charts need the packages altair",
    ),
}


def run(tmp_path: Path, *python: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    (tmp_path / "app.py").write_text(APP)
    out, port = tmp_path / "out", free_port()
    argv = ["run", "--app", f"{sys.executable} app.py {port}", "--cwd", str(tmp_path)]
    argv += ["--url", f"http://127.0.0.1:{port}", "--path", "/a%01b", "--users", "4", "--load", "1", "--cycles", "2"]
    argv += ["--out", str(out)]
    done = subprocess.run([sys.executable, *python, *argv], capture_output=True, text=True, timeout=200, check=False)
    return done, out


def test_a_control_character_in_a_path_takes_neither_the_verdict_nor_the_charts(tmp_path: Path) -> None:
    done, out = run(tmp_path, "-m", "connleak")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith(" LEAK ") and "app.py:13 in answer" in done.stdout
    assert "connection = engine.connect()" in done.stdout
    assert done.stdout.rstrip().endswith("growth.svg")
    for name in ("growth.svg", "growth.png", "report.html", "verdict.json", "excerpts.json"):
        assert (out / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("how", UNDRAWN)
def test_charts_that_cannot_be_drawn_are_a_line_beside_the_verdict(how: str, tmp_path: Path) -> None:
    child, words = UNDRAWN[how]
    done, out = run(tmp_path, "-c", WITH.format(child=child))
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith(" LEAK ") and "report:" not in done.stdout
    assert words in done.stderr and "\n  next: " in done.stderr
    assert (out / "verdict.json").exists() and not (out / "growth.svg").exists()
