"""Secrets planted everywhere: none is in a recording, a log, a report, a process's title, or what is printed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from connleak.parts.process import free_port

pytestmark = pytest.mark.reproduction

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


@app.get("/once")
def once():
    print("asked with", request.headers["Authorization"], flush=True)
    return "x"
"""
TOKEN, BEARER = "tok-3nP1anted", "b3arer-planted-too"
TYPED = ("--env", f"API_TOKEN={TOKEN}", "--header", f"Authorization: Bearer {BEARER}")
NAMED = ("--header", "Authorization: Bearer ${SHOP_BEARER}")


def run(folder: Path, *words: str, typed: bool = True, watch: bool = False) -> tuple[str, list[str]]:
    """Returns (all that was printed, the command lines that were seen while it ran, its own included)."""
    (folder / "shop.py").write_text(APP)
    port = free_port()
    argv = [
        sys.executable, "-m", "connleak", "run", "--app", f"{sys.executable} -m flask --app shop run --port {port}",
        "--url", f"http://127.0.0.1:{port}", "--cwd", str(folder), "--users", "2", "--cycles", "2", "--load", "1",
        "--path", "/", "--path", "/once", "--out", str(folder / "run"), *(TYPED if typed else NAMED), *words,
    ]  # fmt: skip
    env = os.environ if typed else {**os.environ, "API_TOKEN": TOKEN, "SHOP_BEARER": BEARER}
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=env)
    titles: set[str] = set()
    while watch and child.poll() is None:
        own = psutil.Process(child.pid)
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):
                titles.add(" ".join(process.cmdline()))
        time.sleep(0.05)
    said, _ = child.communicate(timeout=120)
    return said, sorted(titles)


def files_with(folder: Path, *secrets: str) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found += [f"{path.name}: {secret}" for secret in secrets if secret.encode() in data]
    return found


@pytest.mark.parametrize("typed", [True, False])
def test_no_secret_is_anywhere_after_a_run(tmp_path: Path, typed: bool) -> None:
    said, titles = run(tmp_path, typed=typed, watch=True)
    assert "CLEAN" in said, said
    log = (tmp_path / "run" / "app.log").read_text()
    assert "starting with" in log and "asked with" in log and "***" in log, "the app said them, and was heard"
    assert files_with(tmp_path / "run", TOKEN, BEARER) == []
    assert TOKEN not in said and BEARER not in said
    assert len(titles) > 3
    told = [title for title in titles if TOKEN in title or BEARER in title]
    # what is typed is in connleak's own title, and in that of a child until its own program has begun
    assert told == [title for title in titles if typed and title.endswith(" ".join(TYPED))]


def test_no_secret_is_in_the_error_of_an_app_that_does_not_start(tmp_path: Path) -> None:
    said, _ = run(tmp_path, "--env", "BREAK=1")
    assert "cannot reach" in said and "***" in said, said
    assert TOKEN not in said
    assert files_with(tmp_path / "run", TOKEN, BEARER) == []


def test_a_recording_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    run(tmp_path, "--cycles", "1", "--load", "0.5")
    folder = tmp_path / "run"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.glob("*.log"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
    assert folder.stat().st_uid == os.getuid()
