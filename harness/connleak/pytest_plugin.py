"""The pytest plug-in: fails a test that leaves a database connection behind, and names the line that opened it.

    pytest --connection-leaks                     all tests
    @pytest.mark.connection_leaks(limit=0)        this test; up to `limit` connections are allowed
    def test_it(connections): connections.out()   the connections that are checked out now

Without one of these the plug-in does nothing. It ignores the connections that fixtures of a wider scope check out, and
the one that Django keeps for each thread. It imports only the standard library and pytest.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

AGENT = Path(__file__).parent / "probe" / "agent"
NAME = "_connleak_probe"
PROPERTY = "connection_leaks"
SECTION = "connections left behind"


class CheckedOut(NamedTuple):
    """A connection that is checked out: the stack of its checkout, innermost first, and the server's session number."""

    sites: tuple[str, ...]
    backend: int | None
    source: str
    collected: bool = False
    """Whether only the garbage collector returned it."""

    def __str__(self) -> str:
        origin = "a checkout from a pool" if self.source == "pool" else "a connection opened directly"
        session = f" (session {self.backend})" if self.backend else ""
        gone = "; only the garbage collector returned it" if self.collected else ""
        return f"{origin}{session}, checked out at {' < '.join(self.sites) or 'a line outside the project'}{gone}"


class Watch:
    """The probe in this process, and the checkouts that do not belong to the current test."""

    def __init__(self) -> None:
        self.probe = load()
        self.exempt: set[int] = set()
        self.before: set[int] = set()

    def numbers(self) -> set[int]:
        return set(self.probe.state.this_process().checkouts)

    def begin(self) -> None:
        self.probe.state.this_process().events.clear()  # without a collector they are never sent
        self.before = self.numbers()

    def outstanding(self, numbers: set[int]) -> list[CheckedOut]:
        """Return those of the numbered checkouts that have not ended; if there are any, run the garbage collector."""
        own = [number for number in numbers if not self.is_kept_by_django(number)]
        rows = {number: row for number in own if (row := self.row(number)) is not None}
        if rows:
            gc.collect()
        out = self.numbers()
        return [row if number in out else row._replace(collected=True) for number, row in rows.items()]

    def row(self, number: int) -> CheckedOut | None:
        checkout = self.probe.state.this_process().checkouts.get(number)
        if checkout is None:
            return None
        here = Path.cwd()
        sites = []
        for file, line, function in self.probe.stacks.resolve(checkout.frames):
            name = os.path.relpath(file, here) if Path(file).is_relative_to(here) else file
            sites.append(f"{name}:{line} in {function}")
        return CheckedOut(tuple(sites), checkout.connection.backend, checkout.connection.source)

    def is_kept_by_django(self, number: int) -> bool:
        """Return whether a checkout is the connection that Django keeps for a thread until it closes it."""
        database = sys.modules.get("django.db")
        checkout = self.probe.state.this_process().checkouts.get(number)
        if database is None or checkout is None:
            return False
        state = self.probe.state.this_process()
        keys = {key for key, record in state.connections.items() if record is checkout.connection}
        kept = (getattr(one, "connection", None) for one in database.connections.all(initialized_only=True))
        return bool(keys & {id(raw) for raw in kept if raw is not None})


def load() -> ModuleType:
    """Load the probe into this process, once; it has no collector, the plug-in reads its state."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, AGENT / "__init__.py", submodule_search_locations=[str(AGENT)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        spec.loader.exec_module(module)
        module.install()
    return sys.modules[NAME]


WATCH = pytest.StashKey[Watch]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("connleak", "connection leaks")
    group.addoption(
        "--connection-leaks", action="store_true", help="fail tests that leave a database connection behind"
    )
    parser.addini(
        "connection_leaks", "watch every test for database connections left behind", type="bool", default=False
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "connection_leaks(limit=0): fail if the test leaves more than `limit` database connections behind"
    )
    if for_all(config):
        config.stash[WATCH] = Watch()


def for_all(config: pytest.Config) -> bool:
    return bool(config.getoption("--connection-leaks", default=False) or config.getini("connection_leaks"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Load the probe if any test uses the mark or the fixture."""
    used = any(
        item.get_closest_marker("connection_leaks") or "connections" in getattr(item, "fixturenames", ())
        for item in session.items
    )
    if used and WATCH not in session.config.stash:
        session.config.stash[WATCH] = Watch()


class Connections:
    """The value of the `connections` fixture."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._before = watch.numbers()

    def out(self) -> list[CheckedOut]:
        """Return the connections checked out since the test began and not returned."""
        new = self._watch.numbers() - self._before - self._watch.exempt
        return [row for number in sorted(new) if (row := self._watch.row(number)) is not None]


@pytest.fixture
def connections(request: pytest.FixtureRequest) -> Connections:
    """The database connections that this test has checked out."""
    return Connections(request.config.stash[WATCH])


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
    """Exempt the checkouts of a fixture of a wider scope than the test."""
    watch = request.config.stash.get(WATCH, None)
    if watch is None or fixturedef.scope == "function":
        return (yield)
    before = watch.numbers()
    try:
        return (yield)
    finally:
        watch.exempt |= watch.numbers() - before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    watch = item.config.stash.get(WATCH, None)
    if watch is not None:
        watch.begin()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    """After the teardown: fail a test that left more connections behind than its limit."""
    report = yield
    watch = item.config.stash.get(WATCH, None)
    marker = item.get_closest_marker("connection_leaks")
    if watch is None or call.when != "teardown" or not (marker or for_all(item.config)):
        return report
    left = watch.outstanding(watch.numbers() - watch.before - watch.exempt)
    limit = marker.kwargs.get("limit", marker.args[0] if marker.args else 0) if marker else 0
    if len(left) > limit:
        count = f"{len(left)} connection{'s' if len(left) > 1 else ''}"
        text = f"the test left {count} behind" + (f" (limit {limit})" if limit else "") + ":\n"
        text += "\n".join(f"  {row}" for row in left)
        report.user_properties.append((PROPERTY, len(left)))
        report.sections.append((SECTION, text))
        if report.outcome == "passed":
            report.outcome = "failed"
            report.longrepr = text
    watch.exempt |= watch.numbers()  # they are reported once, and do not count against the next test
    return report


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    if report.when == "teardown" and report.failed and PROPERTY in dict(report.user_properties):
        return "leaked", "L", "LEAKED"
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the tests that left connections behind, with their lines."""
    leaked = terminalreporter.stats.get("leaked", [])
    if leaked:
        terminalreporter.section(SECTION, sep="=")
        for report in leaked:
            terminalreporter.line(report.nodeid)
            for line in lines_of(report):
                terminalreporter.line(line)


def lines_of(report: Any) -> Iterator[str]:
    for title, text in report.sections:
        if title == SECTION:
            yield from text.splitlines()
