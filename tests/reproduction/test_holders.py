"""From a session on the server to the line of code: holder tables of real leaks, by the command line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from connleak import catalog
from connleak.parts.process import free_port
from environments import environment

pytestmark = [pytest.mark.reproduction, pytest.mark.matrix]


def connleak(*words: str, timeout: float = 180) -> dict:
    """Runs a command with --json; returns the document."""
    argv = [sys.executable, "-m", "connleak", *words, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout)
    assert done.returncode in (0, 1, 3), done.stderr
    return json.loads(done.stdout)


def own_app(folder: Path, source: str, command: str, *words: str) -> dict:
    """Runs an app of a few lines; returns the verdict."""
    (folder / "shop.py").write_text(textwrap.dedent(source))
    port = free_port()
    argv = ["run", "--app", command.format(port=port), "--url", f"http://127.0.0.1:{port}", "--cwd", str(folder)]
    return connleak(*argv, "--out", str(folder / "run"), *words)


def marked(path: Path, mark: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if mark in line)


def test_missing_removes_holders_are_its_sessions_in_transaction_with_line_request_and_thread(tmp_path: Path) -> None:
    verdict = connleak("run", "missing_remove:buggy", "--out", str(tmp_path / "run"))
    held = verdict["findings"][0]
    line = marked(Path(catalog.targets()["missing_remove"].folder, "buggy.py"), "# leak:")
    assert sorted(row["backend"] for row in verdict["holders"]) == held["backends"]
    for row in verdict["holders"]:
        assert (row["site"]["file"], row["site"]["line"], row["site"]["function"]) == ("buggy.py", line, "list_users")
        assert (row["state"], row["request"], row.get("alive", True)) == ("idle in transaction", "GET /", True)
        assert "FROM users" in row["query"]
        assert row["worker"].startswith("ThreadPoolExecutor")
        assert 0 < row["transaction_for"] <= row["session_for"]


def test_listen_helds_holders_are_idle_sessions_opened_past_any_pool(tmp_path: Path) -> None:
    verdict = connleak("run", "listen_held:buggy", "--out", str(tmp_path / "run"))
    line = marked(Path(catalog.targets()["listen_held"].folder, "buggy.py"), "# leak:")
    rows = verdict["holders"]
    assert rows and sorted(row["backend"] for row in rows) == verdict["findings"][0]["backends"]
    for row in rows:
        assert (row["site"]["line"], row["site"]["function"], row["source"]) == (line, "events", "direct")
        assert (row["state"], row["query"]) == ("idle", "LISTEN news")
        assert "transaction_for" not in row
    again = connleak("holders", str(tmp_path / "run"), "--at", "quiet")
    assert again["holders"] == rows


CANCELLED = """
    import os
    import anyio
    from fastapi import FastAPI
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    app = FastAPI()
    engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_size=20)
    @app.get("/")
    async def slow():
        with anyio.move_on_after(0.1):
            async with engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(0.3)::text"))
        return "ok"
"""


@pytest.mark.parametrize(("sqlalchemy", "outcome"), [("2.0.36", "leak"), ("2.0.58", "strained")])
def test_what_a_cancelled_task_left_on_the_server_is_orphaned_with_the_process_that_has_the_socket(
    tmp_path: Path, sqlalchemy: str, outcome: str
) -> None:
    python = environment("3.11", sqlalchemy, "asyncpg==0.30", "anyio==4.8.0", "greenlet", "fastapi", "uvicorn")
    command = f"{python} -m uvicorn shop:app --port {{port}}"
    verdict = own_app(tmp_path, CANCELLED, command, "--users", "2", "--load", "0.6", "--all-cycles")
    kinds = {finding["kind"]: finding for finding in verdict["findings"]}
    assert verdict["outcome"] == outcome, verdict
    if outcome == "strained":  # every cancelled request costs its connection: that is churn, and nothing stays
        assert set(kinds) <= {"churn"}
        return
    orphaned = kinds["orphaned"]
    assert re.search(r"process \d+ has \d+ of their sockets", orphaned["claim"])
    assert "pg_sleep" in orphaned["claim"]
    known = {row["backend"] for row in verdict["holders"]}
    assert len(orphaned["backends"]) >= 10 and not known & set(orphaned["backends"])


FORKED = """
    import os
    from flask import Flask
    from sqlalchemy import create_engine, text
    app = Flask(__name__)
    engine = create_engine(os.environ["DATABASE_URL"])
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))  # opened before the fork
    {fixed}
    @app.get("/")
    def index():
        with engine.connect() as connection:  # used behind it
            return str(connection.scalar(text("SELECT 1")))
"""
DISPOSED = "os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))"


@pytest.mark.parametrize("fixed", ["", DISPOSED], ids=["buggy", "fixed"])
def test_a_session_that_forked_workers_share_is_told_with_its_opener(tmp_path: Path, fixed: str) -> None:
    command = f"{sys.executable} -m gunicorn --preload -w 4 -b 127.0.0.1:{{port}} shop:app"
    verdict = own_app(tmp_path, FORKED.format(fixed=fixed), command, "--users", "8")
    kinds = {finding["kind"]: finding for finding in verdict["findings"]}
    if fixed:
        assert "shared" not in kinds and verdict["outcome"] in ("clean", "strained"), verdict
        return
    shared = kinds["shared"]
    assert shared["sites"][0]["line"] == marked(tmp_path / "shop.py", "# used behind it")
    assert len(shared["backends"]) == 1
    assert re.search(r"opened by process \d+, used by \d other processes?", shared["claim"])


def test_a_running_app_is_asked_for_its_holders_without_stopping_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = [sys.executable, "-m", "connleak", "run", "missing_remove:buggy", "--all-cycles", "--out", str(out)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 30
    while '"drain"' not in (out / "phases.jsonl").read_text() if (out / "phases.jsonl").exists() else True:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    now = connleak("holders", str(out))
    assert now["at"] == "now" and 0 < len(now["holders"]) <= 16
    assert {row["site"]["function"] for row in now["holders"]} == {"list_users"}
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and " LEAK " in printed
    assert connleak("holders", str(out))["at"] == "quiet"
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(out) in " ".join(p.info["cmdline"] or [])]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
