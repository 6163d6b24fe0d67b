"""The command line: --json prints JSON only; an error is one sentence and the next command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from connleak.cli.output import exit_code
from connleak.model.recording import Machine
from connleak.recording.redaction import redact_argv
from connleak.recording.writer import Writer
from support.cli import connleak
from support.plans import plan


@pytest.mark.parametrize(
    ("words", "message", "following"),
    [
        (["run", "missing_remov"], "there is no target 'missing_remov'; did you mean 'missing_remove'?", "list"),
        (["run", "missing_remove:fixd"], "did you mean 'fixed'?", "connleak show missing_remove"),
        (["run"], "run needs a target, --app, or a connleak.toml", "connleak init"),
        (["run", "missing_remove", "--load", "-3"], "--load is -3: expected a number > 0.0", "connleak run --help"),
        (["run", "missing_remove", "--lod", "3"], "No such option", "connleak run --help"),
        (["judge", "/no/such/folder"], "is not a recording", "connleak judge"),
        (["judge", "x", "--expect", "leek"], "'leek' is not one of", "connleak judge --help"),
        (["holders", "/no/such/folder"], "is not a recording", "connleak judge"),
        (["run", "missing_remove", "--gc", "often"], "'often' is not one of", "connleak run --help"),
        (["run", "missing_remove", "--env", "DEBUG"], "--env: expected NAME=VALUE", "--env DEBUG=0"),
        (["run", "--app", "x", "--header", "nothing"], "--header: expected 'NAME: VALUE'", "--header 'Accept"),
        (["frobnicate"], "No such command 'frobnicate'", "connleak --help"),
    ],
)
def test_bad_input_is_one_sentence_the_next_command_and_exit_code_2(
    words: list[str], message: str, following: str
) -> None:
    done = connleak(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert following in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_list_as_json_names_targets_and_what_each_variant_must_get() -> None:
    targets = {target["name"]: target for target in json.loads(connleak("list", "--json").stdout)["targets"]}
    assert targets["missing_remove"]["title"] == "Flask: a scoped_session that nobody removes"
    assert targets["missing_remove"]["variants"]["buggy"] == {"expect": "leak", "kinds": ["held"]}


def test_list_and_show_are_readable() -> None:
    assert "pool_too_small" in connleak("list").stdout
    shown = connleak("show", "missing_remove").stdout
    assert "missing_remove:wrong_bigger_pool" in shown
    assert "+@app.teardown_appcontext" in shown
    versions = connleak("show", "cancelled_query").stdout
    assert "- sqlalchemy==2.0.36" in versions and "+ sqlalchemy==2.0.38" in versions


def test_doctor_finds_what_is_here() -> None:
    done = connleak("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["PostgreSQL (embedded)"]["ok"] and rows["locust"]["ok"]
    assert done.returncode == 0


@pytest.mark.parametrize("command", ["run", "judge", "render", "list", "show", "doctor"])
def test_every_command_has_help(command: str) -> None:
    done = connleak(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5


def test_judging_a_broken_recording_is_inconclusive_and_exit_code_3(tmp_path: Path) -> None:
    with Writer(tmp_path / "run", plan(), Machine()):
        pass
    done = connleak("judge", str(tmp_path / "run"), "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["outcome"] == "inconclusive"
    assert (tmp_path / "run" / "verdict.json").read_text() == done.stdout
    assert connleak("judge", str(tmp_path / "run"), "--expect", "inconclusive").returncode == 0
    assert connleak("render", str(tmp_path / "run")).returncode == 0


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = connleak("run", "missing_remove", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "never overwritten" in done.stderr


@pytest.mark.parametrize(
    ("outcome", "expect", "strict", "code"),
    [
        ("clean", "", False, 0),
        ("strained", "", False, 0),
        ("strained", "", True, 1),
        ("leak", "", False, 1),
        ("fault", "", False, 1),
        ("inconclusive", "", False, 3),
        ("leak", "leak", False, 0),
        ("clean", "leak", False, 1),
        ("inconclusive", "leak", True, 1),
    ],
)
def test_exit_codes_are_those_of_the_table(outcome: str, expect: str, strict: bool, code: int) -> None:
    assert exit_code(outcome, expect, strict) == code  # type: ignore[arg-type]


def test_secrets_of_the_command_line_stay_out_of_the_plan() -> None:
    words = ["run", "--postgres", "postgresql://u:pw1@h/db", "--postgres=postgresql://u:pw2@h/db", "--env", "KEY=pw3",
             "--env=KEY=pw4", "--header", "Cookie: pw5", "--header=Cookie: pw6", "--url",
             "http://127.0.0.1:1"]  # fmt: skip
    kept = list(redact_argv(words))
    assert "pw" not in " ".join(kept)
    assert "postgresql://u:***@h/db" in kept and "http://127.0.0.1:1" in kept and "KEY=***" in kept
    assert "Cookie: ***" in kept and "--header=Cookie: ***" in kept


def test_a_name_between_colons_is_shown_as_it_is(tmp_path: Path) -> None:
    assert ":x:" in connleak("judge", str(tmp_path / ":x:")).stderr
