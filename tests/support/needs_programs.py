"""A pytest plugin: programs that tests need beside Python, its venv module, git and make.

`@pytest.mark.needs("mariadb")` skips a test before its fixtures are made if MariaDB is missing; `need("docker")` does
so from a fixture or a helper. The skip names what to install, a line at the end counts the skips by program, and
`--skips-to FILE` lists them. With CONNLEAK_NO_SKIP=1 every skip is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pytest
from connleak.corpus.prerequisites import Prerequisite, check
from connleak.databases.postgres.binaries import find_programs
from connleak.databases.registry import find_server
from connleak.model.errors import Error
from connleak.processes.services import find_service
from connleak.processes.venv import find_python

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""Where the system's programs are: an ordinary user's PATH lacks /usr/sbin and /sbin."""


class Program(NamedTuple):
    """The name for people, and a function that raises Error with what to install if the program is missing."""

    title: str
    look: Callable[[], object]


def command(name: str, package: str) -> Program:
    """Return a program that is present if it is on PATH."""

    def look() -> None:
        if shutil.which(name, path=PATH) is None:
            raise Error(f"there is no {name} on PATH", f"apt-get install {package}")

    return Program(name, look)


def answers(*argv: str, get: str) -> Callable[[], None]:
    """Return a check that runs a command and passes if the command succeeds."""

    def look() -> None:
        try:
            done = subprocess.run(argv, env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False)
        except OSError as error:
            raise Error(str(error), get) from None
        if done.returncode:
            raise Error(f"{' '.join(argv)}: {done.stderr.strip()[-200:]}", get)

    return look


docker = answers("docker", "info", get="apt-get install docker.io, or set DOCKER_HOST")
namespaces = answers("unshare", "--net", "ip", "link", "set", "lo", "up", get="apt-get install iproute2, as root")
user_namespaces = answers("unshare", "--user", "true", get="a kernel that allows them, and no chroot")


def superuser() -> None:
    if os.geteuid() != 0:
        raise Error("these tests run as another account, or as several", "run them as root")


PROGRAMS = {
    "mariadb": Program("MariaDB", partial(find_server, "mysql")),
    "redis": Program("Redis", partial(find_service, "redis")),
    "pgbouncer": Program("PgBouncer", partial(find_server, "pgbouncer")),
    "postgresql": Program("the system's PostgreSQL", partial(find_programs, "system")),
    **{f"postgresql-{n}": Program(f"PostgreSQL {n}", partial(find_programs, str(n))) for n in range(15, 19)},
    **{f"python3.{n}": Program(f"Python 3.{n}", partial(find_python, f"3.{n}")) for n in range(8, 15)},
    "docker": Program("a Docker engine", docker),
    "openssl": command("openssl", "openssl"),
    "chromium": command("chromium", "chromium"),
    "gcc": command("gcc", "gcc libc6-dev"),
    "iptables": command("iptables", "iptables"),
    "mount": command("mount", "mount"),
    "setpriv": command("setpriv", "util-linux"),
    "namespaces": Program("network namespaces", namespaces),
    "user namespaces": Program("user namespaces", user_namespaces),
    "root": Program("root", superuser),
}
"""Every name that a test may need. `root` is checked last: other programs are missing for root, too."""
OF_DATABASE = {"mysql": ("mariadb",), "pgbouncer": ("pgbouncer",)}
"""Programs that a plan's kind of database needs beside the embedded PostgreSQL."""


class Missing(pytest.skip.Exception):
    """A skip because a program is missing."""

    def __init__(self, name: str, found: Prerequisite) -> None:
        super().__init__(f"{PROGRAMS[name].title}: {found.missing}; {found.command}")
        self.name = name


@cache
def looked(name: str) -> Prerequisite:
    return check(name, PROGRAMS[name].look)


def need(*names: str) -> None:
    """Skip the running test if one of these is missing."""
    for name in names:
        if looked(name).missing:
            raise Missing(name, looked(name))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skips-to", metavar="FILE", help="Write a line `program: test` for each test that is skipped.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"needs(*names): skip without these programs: {', '.join(PROGRAMS)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    names = [name for mark in item.iter_markers("needs") for name in mark.args]
    need(*sorted(names, key="root".__eq__))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        raised = call.excinfo.value if call.excinfo else None
        report.program = raised.name if isinstance(raised, Missing) else ""
        if report.program:
            report.longrepr = (*report.longrepr[:2], str(raised))  # without the exception's name
        forbid(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    if report.skipped:
        report.program = ""
        forbid(report)
    return report


def forbid(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure if CONNLEAK_NO_SKIP=1."""
    if os.environ.get("CONNLEAK_NO_SKIP") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CONNLEAK_NO_SKIP=1, and this test would be skipped. {str(reason).removeprefix('Skipped: ')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_line(counted(skipped), yellow=True)
    file = config.getoption("--skips-to")
    if file:
        lines = sorted({f"{report.program or 'other'}: {report.nodeid.partition('[')[0]}\n" for report in skipped})
        Path(file).write_text("".join(lines), encoding="utf-8")


def counted(skipped: list[pytest.TestReport]) -> str:
    """Return a line such as `7 skipped: MariaDB (apt-get install mariadb-server) 5, Redis (...) 2`."""
    counts = Counter(report.program for report in skipped)
    parts = [
        f"{PROGRAMS[name].title} ({looked(name).command}) {count}" if name else f"for other reasons {count}"
        for name, count in counts.most_common()
    ]
    return f"{len(skipped)} skipped: {', '.join(parts)}"
