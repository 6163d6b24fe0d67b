"""A test whose program is missing is skipped by name and counted, or fails where skipping is forbidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import TESTS

SUITE = """
import pytest
from support.needs_programs import need


@pytest.fixture
def container():
    need("docker")


@pytest.fixture
def never():
    raise AssertionError("a fixture was made for a test that is skipped")


@pytest.mark.needs("mariadb")
@pytest.mark.parametrize("number", [1, 2])
def test_by_mark(never, number): ...


def test_by_fixture(container): ...


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.needs("redis")), 2])
def test_by_parameter(number): ...


@pytest.mark.needs("openssl", "root")
def test_by_the_first_that_is_missing(): ...


@pytest.mark.xfail
def test_expected_to_fail():
    raise AssertionError


def test_by_hand():
    pytest.skip("no reason")
"""
MODULE = "import pytest\npytest.importorskip('no_such_module')\ndef test_it(): ...\n"


def run(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the suite with a PATH without any program."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "test_module.py").write_text(MODULE)
    variables = {**os.environ, "PATH": str(folder / "bin"), "PYTHONPATH": str(TESTS), "CONNLEAK_NO_SKIP": "", **env}
    hidden = "import shutil\nfrom support import needs_programs\nneeds_programs.PATH = ''; which = shutil.which\n"
    hidden += "shutil.which = lambda name, mode=0, path=None: None\n"
    (folder / "conftest.py").write_text(hidden + "pytest_plugins = ['support.needs_programs']\n")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", *words, str(folder)]
    return subprocess.run(argv, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("no_skip", ["", "0"])
def test_what_is_missing_skips_names_its_package_and_is_counted(tmp_path: Path, no_skip: str) -> None:
    done = run(tmp_path, "--skips-to", str(tmp_path / "skips.txt"), CONNLEAK_NO_SKIP=no_skip)
    assert done.returncode == 0, done.stdout + done.stderr
    [counted] = [line for line in done.stdout.splitlines() if " skipped: " in line]
    assert counted.startswith("7 skipped: ")
    for words in (
        "MariaDB (apt-get install mariadb-server) 2, ",
        "Redis (apt-get install redis-server) 1",
        "openssl (apt-get install openssl) 1",
        "other reasons 2",
    ):
        assert words in counted
    assert "a Docker engine" in counted and "MariaDB: no MariaDB server is installed" in done.stdout
    assert (tmp_path / "skips.txt").read_text().splitlines() == [
        "docker: test_suite.py::test_by_fixture",
        "mariadb: test_suite.py::test_by_mark",
        "openssl: test_suite.py::test_by_the_first_that_is_missing",
        "other: test_module.py",
        "other: test_suite.py::test_by_hand",
        "redis: test_suite.py::test_by_parameter",
    ]


def test_where_none_may_skip_every_skip_is_a_failure_that_says_what_to_install(tmp_path: Path) -> None:
    done = run(tmp_path, "--continue-on-collection-errors", CONNLEAK_NO_SKIP="1")
    assert done.returncode == 1
    assert "skipped" not in done.stdout.splitlines()[-1]
    assert "1 passed, 1 xfailed" in done.stdout
    assert done.stdout.count("CONNLEAK_NO_SKIP=1, and this test would be skipped") == 7
    for words in ("apt-get install mariadb-server", "docker.io", "no_such_module", "no reason"):
        assert words in done.stdout


def test_a_name_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_typo.py").write_text("import pytest\n@pytest.mark.needs('maria')\ndef test_it(): ...\n")
    done = run(tmp_path, "-k", "test_it and typo")
    assert done.returncode == 1 and "KeyError: 'maria'" in done.stdout
