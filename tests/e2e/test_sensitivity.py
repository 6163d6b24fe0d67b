"""Options that decide how far a run can be trusted: a sensitivity, a canary, the garbage collector."""

from __future__ import annotations

import sys
from pathlib import Path

from connleak.processes.ports import free_port
from support.cli import connleak_json


def run(folder: Path, *words: str) -> dict:
    return connleak_json("run", *words, "--out", str(folder / "run"))


def check(verdict: dict, name: str) -> list:
    return next(check for check in verdict["checks"] if check[0] == name)


def test_a_healthy_run_with_a_canary_ends_when_the_asked_sensitivity_is_reached(tmp_path: Path) -> None:
    verdict = run(tmp_path, "missing_remove:fixed", "--sensitivity", "1/300", "--canary")
    assert verdict["outcome"] == "clean", verdict
    assert check(verdict, "canary")[1] == "clean" and "the planted leak was found" in check(verdict, "canary")[2]
    assert len(verdict["evidence"]["requests"]) == 2
    assert verdict["sensitivity"]["requests"] >= 900
    notes = verdict["evidence"]["notes"]
    assert any("900" not in note and "are enough for the requested sensitivity" in note for note in notes)


def test_loads_are_lengthened_for_a_sensitivity_that_takes_many_requests(tmp_path: Path) -> None:
    verdict = run(tmp_path, "missing_remove:fixed", "--sensitivity", "1/3000")
    assert verdict["outcome"] == "clean", verdict
    assert verdict["sensitivity"]["requests"] >= 9000
    assert max(verdict["evidence"]["requests"]) > 1.5 * verdict["evidence"]["requests"][0]


def test_a_sensitivity_that_was_not_reached_within_the_limit_is_inconclusive(tmp_path: Path) -> None:
    verdict = run(tmp_path, "missing_remove:fixed", "--sensitivity", "1/100000", "--limit", "1")
    assert verdict["outcome"] == "inconclusive"
    assert "requests reached the app, but a sensitivity of 1/100000 needs 300000" in verdict["sentence"]


WITHOUT_SITE = """
import os, sys
from wsgiref.simple_server import make_server
import psycopg2

connection = psycopg2.connect(host=os.environ["PGHOST"])


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"here"]


make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""


def test_an_app_in_which_no_leak_can_be_planted_is_inconclusive(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "plain.py").write_text(WITHOUT_SITE)
    app = f"{sys.executable} -I plain.py {port}"  # -I: the probe is not loaded
    words = ("--app", app, "--url", f"http://127.0.0.1:{port}", "--cwd", str(tmp_path), "--users", "2")
    verdict = run(tmp_path, *words, "--canary", "--cycles", "2", "--load", "0.5")
    assert verdict["outcome"] == "inconclusive"
    assert "no leak was planted" in check(verdict, "canary")[2]


def test_without_its_collector_an_app_keeps_what_the_collector_would_have_brought_back(tmp_path: Path) -> None:
    for mode, held in (("off", True), ("eager", False)):
        verdict = run(tmp_path / mode, "close_only_on_success:buggy", "--gc", mode, "--all-cycles")
        kinds = [finding["kind"] for finding in verdict["findings"]]
        assert ("held" in kinds) == held, (mode, verdict["findings"])
        assert verdict["outcome"] == "leak" and "collected" in kinds
