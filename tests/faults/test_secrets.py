"""Secrets planted everywhere: none is in a recording, a log, a report, a process's title, or the output."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from connleak.processes.ports import free_port
from connleak.recording import reader
from support.cli import command, connleak

APP = """
import os, sys
from flask import Flask, request
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
print("starting with", os.environ["DATABASE_URL"], os.environ["API_TOKEN"], flush=True)
if os.environ.get("BREAK"):
    raise RuntimeError("cannot reach " + os.environ["DATABASE_URL"] + " with " + os.environ["API_TOKEN"])


@app.get("/")
def index():
    if request.args.get("once"):
        print("asked with", request.headers["Authorization"], flush=True)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return request.headers["Authorization"][:0] + "x"


@app.post("/login")
def login():
    given = request.json if request.is_json else request.form
    if given["password"] != os.environ["PASSWORD_OF_" + given["user"].upper()]:
        return f"wrong: {given['password']} for {given['user']}", 403
    print("logged in with", given["password"], "and", request.args.get("api_key"), flush=True)
    return "x"


@app.get("/once")
def once():
    print("asked with", request.headers["Authorization"], flush=True)
    return "x"
"""
TOKEN, BEARER = "tok-3nP1anted", "b3arer-planted-too"
TYPED = ("--env", f"API_TOKEN={TOKEN}", "--header", f"Authorization: Bearer {BEARER}")
NAMED = ("--header", "Authorization: Bearer ${SHOP_BEARER}")
PLANTED = {
    "SETUP_TOKEN": "setup-pl4nted", "APP_TOKEN": "app-pl4nted", "JSON_WORD": "js0n pl4nted",
    "FORM_WORD": "f0rm-pl4nted", "QUERY_KEY": "query-pl4nted", "ENV_WORD": "env-pl4nted",
}  # fmt: skip
"""Secrets of each option, by the variable that contains them if they are not typed."""


def options(secret: Callable[[str], str]) -> list[str]:
    """Return options with a secret in each, from a function of the variable's name."""
    echo = "import os; print('set up with', os.environ['SETUP_TOKEN'])"
    return [
        "--setup", f"env 'SETUP_TOKEN={secret('SETUP_TOKEN')}' {sys.executable} -c \"{echo}\"",
        "--env", f"PASSWORD_OF_ANN={secret('JSON_WORD')}", "--env", f"PASSWORD_OF_BOB={secret('FORM_WORD')}",
        "--env", f"ENV_PASSWORD={secret('ENV_WORD')}", "--env", "HARMLESS=4-shown", "--header", "X-Shop: sh0wn-too",
        "--path", f'POST /login?api_key={secret("QUERY_KEY")} {{"user": "ann", "password": "{secret("JSON_WORD")}"}}',
        "--path", f"POST /login user=bob&password={secret('FORM_WORD')}",
    ]  # fmt: skip


def run(folder: Path, *words: str, typed: bool = True, watch: bool = False, before: str = "") -> tuple[str, list[str]]:
    """Return (the output, the command lines of all processes while it ran, including its own)."""
    (folder / "shop.py").write_text(APP)
    port = free_port()
    argv = [
        *command("run"),
        "--app", f"{before}{sys.executable} -m flask --app shop run --port {port}",
        "--url", f"http://127.0.0.1:{port}", "--cwd", str(folder), "--users", "2", "--cycles", "2", "--load", "1",
        "--path", "/", "--path", "/once", "--out", str(folder / "run"), *(TYPED if typed else NAMED), *words,
    ]  # fmt: skip
    env = os.environ if typed else {**os.environ, **PLANTED, "API_TOKEN": TOKEN, "SHOP_BEARER": BEARER}
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=env)
    titles: set[str] = set()
    while watch and child.poll() is None:
        own = psutil.Process(child.pid)
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):
                titles.add(" ".join(process.cmdline()))
        time.sleep(0.05)
    output, _ = child.communicate(timeout=120)
    return output, sorted(titles)


def files_with(folder: Path, *secrets: str) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found += [f"{path.name}: {secret}" for secret in secrets if secret.encode() in data]
    return found


@pytest.mark.parametrize("typed", [True, False])
def test_no_secret_is_anywhere_after_a_run(tmp_path: Path, typed: bool) -> None:
    output, titles = run(tmp_path, typed=typed, watch=True)
    assert "CLEAN" in output, output
    log = (tmp_path / "run" / "app.log").read_text()
    assert "starting with" in log and "asked with" in log and "***" in log, "the app logged them"
    assert files_with(tmp_path / "run", TOKEN, BEARER) == []
    assert TOKEN not in output and BEARER not in output
    assert len(titles) > 3
    told = [title for title in titles if TOKEN in title or BEARER in title]
    # a typed value is in connleak's title, and in that of a child until its program starts
    assert told == [title for title in titles if typed and title.endswith(" ".join(TYPED))]


@pytest.mark.parametrize("typed", [True, False])
def test_no_secret_of_any_option_is_written_down_and_what_is_harmless_is(tmp_path: Path, typed: bool) -> None:
    def secret(name: str) -> str:
        return PLANTED[name] if typed else f"${{{name}}}"

    output, _ = run(tmp_path, *options(secret), typed=typed, before=f"env 'APP_TOKEN={secret('APP_TOKEN')}' ")
    folder = tmp_path / "run"
    assert "CLEAN" in output, output
    answers = Counter((row.name, row.ok) for row in reader.read(folder).requests)
    assert answers[("/login", True)] > 10 and not answers[("/login", False)], "the load had the right ones"
    assert "set up with ***" in (folder / "setup.log").read_text()
    assert "logged in with *** and ***" in (folder / "app.log").read_text()
    (folder / "junit.xml").write_text(printed("judge", str(folder), "--format", "junit"))
    (folder / "issue.md").write_text(printed("judge", str(folder), "--format", "md"))
    assert files_with(folder, TOKEN, BEARER, *PLANTED.values()) == []
    assert not any(planted in output for planted in PLANTED.values())
    plan = json.loads((folder / "plan.json").read_text())
    shown = "***" if typed else "${ENV_WORD}"
    assert plan["env"]["ENV_PASSWORD"] == shown and plan["env"]["HARMLESS"] == "4-shown"
    assert plan["headers"]["X-Shop"] == "sh0wn-too"
    for text in (
        " ".join(plan["argv"]),
        plan["app"],
        *plan["setup"],
        *(one["path"] for one in plan["requests"]),
    ):
        assert ("***" if typed else "${") in text or "TOKEN" not in text
    report = (folder / "report.html").read_text()
    assert ("APP_TOKEN=***" if typed else "APP_TOKEN=${APP_TOKEN}") in report
    made = (folder / "locustfile.py").read_text()
    assert ("${REQUEST_SECRET_1}" if typed else "${JSON_WORD}") in made


def printed(*words: str) -> str:
    done = connleak(*words)
    assert done.stdout, done.stderr
    return done.stdout


def test_no_secret_is_in_the_error_of_an_app_that_does_not_start(tmp_path: Path) -> None:
    output, _ = run(tmp_path, "--env", "BREAK=1")
    assert "cannot reach" in output and "***" in output, output
    assert TOKEN not in output
    assert files_with(tmp_path / "run", TOKEN, BEARER) == []


def test_a_recording_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    run(tmp_path, "--cycles", "1", "--load", "0.5")
    folder = tmp_path / "run"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.glob("*.log"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
    assert folder.stat().st_uid == os.getuid()
