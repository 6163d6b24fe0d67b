"""The pytest plug-in on generated suites: it fails exactly the tests that leak, and names their lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

SUITE = """
import sqlite3
import threading

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine("sqlite:///shop.db")
kept = []


def query(session):
    return session.scalar(text("SELECT 1"))


def leave():
    session = Session(engine)
    query(session)  # leaks
    kept.append(session)


def test_gives_it_back():
    with Session(engine) as session:
        query(session)


def test_keeps_a_session():
    leave()


def test_next_is_not_blamed():
    assert True


def test_opens_by_hand():
    kept.append(sqlite3.connect("shop.db"))


def test_in_a_thread():
    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()


def test_in_a_cycle():
    session = Session(engine)
    query(session)
    session.me = session


@pytest.fixture(scope="module")
def shared():
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def own():
    with engine.connect() as connection:
        yield connection


def test_uses_what_is_the_modules(shared, own):
    shared.execute(text("SELECT 1"))
    own.execute(text("SELECT 1"))


def test_fails_and_leaks():
    leave()
    assert False


@pytest.mark.connection_leaks(limit=1)
def test_may_keep_one():
    leave()


@pytest.mark.connection_leaks(limit=1)
def test_may_not_keep_two():
    leave()
    leave()


def test_sees_what_is_out(connections):
    assert connections.out() == []
    with Session(engine) as session:
        query(session)
        (row,) = connections.out()
        assert "in query" in str(row) and row.source == "pool"
    assert connections.out() == []
"""
LEAKING = {
    "test_keeps_a_session",
    "test_opens_by_hand",
    "test_in_a_thread",
    "test_in_a_cycle",
    "test_may_not_keep_two",
    "test_fails_and_leaks",
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_shop.py").write_text(SUITE)
    return tmp_path


def run(folder: Path, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    harness = str(Path(__file__).parents[2] / "harness")
    env = {**os.environ, "PYTHONPATH": harness, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "", "COLUMNS": "150"}
    argv = [python, "-m", "pytest", "-p", "connleak.pytest_plugin", "-p", "no:cacheprovider", *words]
    return subprocess.run(argv, capture_output=True, text=True, cwd=folder, env=env, timeout=120, check=False)


def test_exactly_the_leaking_tests_fail_each_with_its_line(suite: Path) -> None:
    done = run(suite, "--connection-leaks", "--junitxml=out.xml", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    leaked = set(re.findall(r"::(\w+) LEAKED", done.stdout))
    assert leaked == LEAKING
    assert re.search(
        r"checked out at test_shop.py:\d+ in query < test_shop.py:\d+ in leave < test_shop.py", done.stdout
    )
    assert "a connection opened directly" in done.stdout
    assert "only the garbage collector returned it" in done.stdout
    assert "the test left 2 connections behind (limit 1)" in done.stdout
    root = ElementTree.parse(suite / "out.xml").getroot()
    reported = {case.get("name") for case in root.iter("testcase") for p in case.iter("property") if p.get("name")}
    assert reported == LEAKING
    assert re.search(r"6 leaked", done.stdout) and "1 failed" in done.stdout


def test_without_being_asked_nothing_is_watched_and_nothing_changes(suite: Path) -> None:
    (suite / "test_shop.py").write_text(
        "import sys\n\n\ndef test_it():\n    assert '_connleak_probe' not in sys.modules\n"
    )
    done = run(suite)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_mark_alone_watches_its_test(suite: Path) -> None:
    done = run(suite, "-v")
    assert set(re.findall(r"::(\w+) LEAKED", done.stdout)) == {"test_may_not_keep_two"}


def test_the_ini_file_turns_it_on(suite: Path) -> None:
    (suite / "pytest.ini").write_text("[pytest]\nconnection_leaks = true\n")
    assert set(re.findall(r"::(\w+) LEAKED", run(suite, "-v").stdout)) == LEAKING
