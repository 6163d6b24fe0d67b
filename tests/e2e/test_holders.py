"""From a session on the server to the line of code: holder tables of real leaks, by the command line."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import psutil
from connleak.plan import catalog
from support.cli import command, connleak_json
from support.poll import wait_until


def marked(path: Path, mark: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if mark in line)


def test_missing_removes_holders_are_its_sessions_in_transaction_with_line_request_and_thread(tmp_path: Path) -> None:
    verdict = connleak_json("run", "missing_remove:buggy", "--out", str(tmp_path / "run"))
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
    verdict = connleak_json("run", "listen_held:buggy", "--out", str(tmp_path / "run"))
    line = marked(Path(catalog.targets()["listen_held"].folder, "buggy.py"), "# leak:")
    rows = verdict["holders"]
    assert rows and sorted(row["backend"] for row in rows) == verdict["findings"][0]["backends"]
    for row in rows:
        assert (row["site"]["line"], row["site"]["function"], row["source"]) == (line, "events", "direct")
        assert (row["state"], row["query"]) == ("idle", "LISTEN news")
        assert "transaction_for" not in row
    again = connleak_json("holders", str(tmp_path / "run"), "--at", "quiet")
    assert again["holders"] == rows


def test_what_a_cancelled_query_left_is_orphaned_with_the_process_that_has_its_socket(tmp_path: Path) -> None:
    verdict = connleak_json("run", "cancelled_query:buggy", "--out", str(tmp_path / "run"))
    orphaned = next(finding for finding in verdict["findings"] if finding["kind"] == "orphaned")
    assert re.search(r"process \d+ has \d+ of their sockets", orphaned["claim"])
    assert "pg_sleep" in orphaned["claim"]
    known = {row["backend"] for row in verdict["holders"]}
    assert len(orphaned["backends"]) >= 10 and not known & set(orphaned["backends"])


def test_a_session_that_forked_workers_share_is_told_with_its_opener_and_the_line(tmp_path: Path) -> None:
    verdict = connleak_json("run", "fork_gunicorn_preload:buggy", "--out", str(tmp_path / "run"))
    shared = next(finding for finding in verdict["findings"] if finding["kind"] == "shared")
    line = marked(Path(catalog.targets()["fork_gunicorn_preload"].folder, "buggy.py"), "    with engine.connect()")
    assert (shared["sites"][0]["line"], shared["sites"][0]["function"]) == (line, "price")
    assert len(shared["backends"]) == 1
    assert re.search(r"opened by process \d+, used by [234] other processes", shared["claim"])


def test_a_running_app_is_asked_for_its_holders_without_stopping_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = command("run", "missing_remove:buggy", "--all-cycles", "--out", str(out))
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    phases = out / "phases.jsonl"
    wait_until(
        lambda: phases.exists() and '"drain"' in phases.read_text(), "the run drains", timeout=30, process=process
    )
    now = connleak_json("holders", str(out))
    assert now["at"] == "now" and 0 < len(now["holders"]) <= 16
    assert {row["site"]["function"] for row in now["holders"]} == {"list_users"}
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and " LEAK " in printed
    assert connleak_json("holders", str(out))["at"] == "quiet"
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(out) in " ".join(p.info["cmdline"] or [])]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
