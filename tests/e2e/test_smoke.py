"""The first commands of a new user: the bug is a leak at its line, the fix is clean, and the charts exist."""

from __future__ import annotations

import json
from pathlib import Path

from support.cli import connleak


def test_the_bug_is_a_leak_at_its_line_and_the_report_is_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = connleak("run", "missing_remove:buggy", "--expect", "leak", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(" LEAK  missing_remove:buggy")
    assert "buggy.py:27 in list_users" in done.stdout
    verdict = json.loads((out / "verdict.json").read_text())
    assert verdict["findings"][0]["kind"] == "held"
    # a slow machine fills the threads over all cycles (13, 15, 16), so the bound is not always seen; it is never passed
    assert verdict["findings"][0].get("bounded_by", "threads") == "threads"
    assert 8 <= len(verdict["findings"][0]["backends"]) <= 16
    assert (out / "growth.svg").read_text().startswith("<svg")
    assert (out / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert "vegaEmbed(" in (out / "report.html").read_text()


def test_the_fix_is_clean_and_says_down_to_which_rate(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = connleak("run", "missing_remove:fixed", "--json", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["outcome"] == "clean"
    assert 0 < verdict["sensitivity"]["value"] < 20
    again = connleak("judge", str(out), "--json")
    assert again.stdout == done.stdout == (out / "verdict.json").read_text()


def test_python_gets_the_verdict_as_values(tmp_path: Path) -> None:
    from connleak import RunOptions, compare, judge, run

    leak = run(RunOptions(target="missing_remove:buggy", load=1.0, cycles=2), out=str(tmp_path / "a"))
    clean = run(RunOptions(target="missing_remove:fixed", load=1.0, cycles=2), out=str(tmp_path / "b"))
    assert (leak.verdict.outcome, clean.verdict.outcome) == ("leak", "clean")
    assert leak.verdict.findings[0].sites[0].file == "buggy.py"
    assert judge(leak.folder) == leak.verdict
    assert compare(leak.folder, clean.folder).outcome == "fixed"
