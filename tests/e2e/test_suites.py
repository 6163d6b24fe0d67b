"""The pytest plug-in in usual suites: under xdist, with pytest-asyncio, with pytest-django's database."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from connleak.corpus import archive as packing
from connleak.processes.venv import environment
from support.paths import HARNESS, RECORDINGS

PACKAGES = ("pytest", "pytest-xdist", "pytest-asyncio", "pytest-django", "django", "sqlalchemy[asyncio]", "aiosqlite")
MANY = """
import pytest
from sqlalchemy import create_engine, text

engine = create_engine("sqlite:///shop.db", pool_size=50)
kept = []


@pytest.mark.parametrize("number", range(24))
def test_number(number):
    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    if number % 6 == 5:
        kept.append(connection)
    else:
        connection.close()
"""
ASYNC = """
import asyncio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

kept = []


@pytest.fixture
async def engine():
    engine = create_async_engine("sqlite+aiosqlite:///shop.db")
    yield engine
    await engine.dispose()


async def test_gives_it_back(engine):
    async with AsyncSession(engine) as session:
        await session.execute(text("SELECT 1"))


async def test_keeps_a_session(engine):
    session = AsyncSession(engine)
    await session.execute(text("SELECT 1"))
    kept.append(session)


async def test_a_task_keeps_one(engine):
    async def work():
        connection = await engine.connect()
        await connection.execute(text("SELECT 1"))
        kept.append(connection)

    await asyncio.create_task(work())


async def test_many_at_once_give_all_back(engine):
    async def work():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    await asyncio.gather(*(work() for _ in range(5)))
"""
DJANGO = """
import sqlite3
import threading

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections

kept = []


@pytest.mark.django_db
def test_in_a_transaction_that_is_rolled_back():
    User.objects.create(username="a")
    assert User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_with_transactions_of_its_own():
    User.objects.create(username="b")
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_past_django():
    kept.append(sqlite3.connect("other.db"))


@pytest.mark.django_db
def test_a_client(client):
    assert client.get("/nothing").status_code == 404


@pytest.mark.django_db
def test_after_it():
    assert User.objects.count() == 0
"""
SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db", "TEST": {"NAME": "test.db"}}}
ROOT_URLCONF = "urls"
"""


def run(folder: Path, *words: str, **env: str) -> tuple[set[str], str]:
    """Return the tests that are reported to leak, and pytest's whole output."""
    python = environment("", *PACKAGES)
    argv = [str(python), "-m", "pytest", "-p", "connleak.pytest_plugin", "-p", "no:cacheprovider", "-v", *words]
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd=folder, timeout=180, check=False,
        env={**os.environ, "PYTHONPATH": f"{HARNESS}{os.pathsep}{folder}", "COLUMNS": "160", **env},
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode in (0, 1), output
    leaked = {
        name for line in output.splitlines() if "LEAKED" in line for name in re.findall(r"::(\w+(?:\[\w+\])?)", line)
    }
    return leaked, output


def test_under_xdist_exactly_the_leaking_tests_fail_on_whichever_worker(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(MANY)
    leaked, output = run(tmp_path, "--connection-leaks", "-n", "3")
    assert leaked == {f"test_number[{n}]" for n in (5, 11, 17, 23)}, output
    assert "4 leaked" in output
    assert re.search(r"checked out at test_shop.py:\d+ in test_number", output), "the workers' sections arrive"


def test_with_pytest_asyncio_tasks_and_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(ASYNC)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nconnection_leaks = true\n")
    leaked, output = run(tmp_path)
    assert leaked == {"test_keeps_a_session", "test_a_task_keeps_one"}, output


def test_djangos_own_connections_are_djangos_in_all_its_styles(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(DJANGO)
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "urls.py").write_text("urlpatterns = []\n")
    leaked, output = run(tmp_path, "--connection-leaks", DJANGO_SETTINGS_MODULE="settings")
    assert leaked == {"test_past_django"}, output
    assert "5 passed" in output or "4 passed" in output


def test_installed_beside_a_suite_it_changes_nothing(tmp_path: Path) -> None:
    """A conftest may use any name for its fixtures and options: none collides with connleak's or Locust's."""
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n\ndef pytest_addoption(parser):\n    parser.addoption('--host')\n\n\n"
        "@pytest.fixture\ndef session():\n    return 'mine'\n"
    )
    (tmp_path / "test_shop.py").write_text("def test_it(session):\n    assert session == 'mine'\n")
    leaked, output = run(tmp_path, "--host", "x")
    assert (leaked, "1 passed" in output) == (set(), True), output


FRAMES = """
import sys
from connleak import api

read = api.read(sys.argv[1])
pandas, polars = api.to_pandas(read), api.to_polars(read)
assert list(pandas.columns) == polars.columns, polars.columns
assert len(pandas) == len(polars) == len(read.samples)
print(int(pandas["sessions"].max()), int(polars["out"].max()), pandas["t"].is_monotonic_increasing)
"""


def test_a_recording_becomes_a_frame_of_the_notebooks_own_library(tmp_path: Path) -> None:
    base = ("click", "jinja2", "msgspec", "platformdirs", "psutil", "psycopg[binary]", "rich")
    python = environment("", "pandas", "polars", *base)
    with packing.unpacked(RECORDINGS / "missing_remove-buggy.tar.gz") as folder:
        argv = [str(python), "-c", FRAMES, str(folder)]
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PYTHONPATH": str(HARNESS)},
        )
    assert done.returncode == 0, done.stderr
    sessions, out, rising = done.stdout.split()
    assert (int(sessions), int(out) > 0, rising) == (16, True, "True")
