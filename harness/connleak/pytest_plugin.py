"""pytest: which test left a database connection behind, and the line that took it.

    pytest --connection-leaks                     every test
    @pytest.mark.connection_leaks(limit=0)        this one, with so many allowed
    def test_it(connections): connections.out()   who has one now

Nothing is watched unless one of these asks for it. What a fixture of a wider scope took is its own until that ends;
the connection that Django keeps for each thread is Django's. Imports the standard library and pytest alone.
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


class Left(NamedTuple):
    """A connection that is out: the line that took it, innermost first, and which of the session's it is."""

    sites: tuple[str, ...]
    backend: int | None
    source: str
    collected: bool = False
    """It came back only when the garbage collector ran."""

    def __str__(self) -> str:
        what = "a checkout of a pool" if self.source == "pool" else "a connection opened by hand"
        session = f" (session {self.backend})" if self.backend else ""
        gone = "; only the garbage collector brought it back" if self.collected else ""
        return f"{what}{session}, taken at {' < '.join(self.sites) or 'no line of the project'}{gone}"


class Watch:
    """The probe in this process, and what is known to be somebody's: fixtures' of wider scope, Django's."""

    def __init__(self) -> None:
        self.probe = load()
        self.exempt: set[int] = set()
        self.before: set[int] = set()

    def numbers(self) -> set[int]:
        return set(self.probe.state.here().checkouts)

    def begin(self) -> None:
        self.probe.state.here().events.clear()  # nobody listens to them here
        self.before = self.numbers()

    def left(self, numbers: set[int]) -> list[Left]:
        """Returns the connections of some numbers that are still out; runs the collector when there are any."""
        mine = [number for number in numbers if not self.is_djangos(number)]
        rows = {number: row for number in mine if (row := self.row(number)) is not None}
        if rows:
            gc.collect()
        out = self.numbers()
        return [row if number in out else row._replace(collected=True) for number, row in rows.items()]

    def row(self, number: int) -> Left | None:
        checkout = self.probe.state.here().checkouts.get(number)
        if checkout is None:
            return None
        here = Path.cwd()
        sites = []
        for file, line, function in self.probe.stacks.resolve(checkout.frames):
            name = os.path.relpath(file, here) if Path(file).is_relative_to(here) else file
            sites.append(f"{name}:{line} in {function}")
        return Left(tuple(sites), checkout.connection.backend, checkout.connection.source)

    def is_djangos(self, number: int) -> bool:
        """Tells whether a checkout is the connection that Django keeps for a thread until it closes it."""
        database = sys.modules.get("django.db")
        checkout = self.probe.state.here().checkouts.get(number)
        if database is None or checkout is None:
            return False
        state = self.probe.state.here()
        keys = {key for key, known in state.connections.items() if known is checkout.connection}
        kept = (getattr(one, "connection", None) for one in database.connections.all(initialized_only=True))
        return bool(keys & {id(raw) for raw in kept if raw is not None})


def load() -> ModuleType:
    """Loads the probe into this process, once; it tells nobody, the plug-in reads its table."""
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
        "markers", "connection_leaks(limit=0): fail when the test leaves more database connections behind than `limit`"
    )
    if for_all(config):
        config.stash[WATCH] = Watch()


def for_all(config: pytest.Config) -> bool:
    return bool(config.getoption("--connection-leaks", default=False) or config.getini("connection_leaks"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Loads the probe when any test asks for it by its mark or the fixture."""
    asked = any(
        item.get_closest_marker("connection_leaks") or "connections" in getattr(item, "fixturenames", ())
        for item in session.items
    )
    if asked and WATCH not in session.config.stash:
        session.config.stash[WATCH] = Watch()


class Connections:
    """What the `connections` fixture gives."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._before = watch.numbers()

    def out(self) -> list[Left]:
        """Returns the connections that were taken since the test began and are out now."""
        taken = self._watch.numbers() - self._before - self._watch.exempt
        return [row for number in sorted(taken) if (row := self._watch.row(number)) is not None]


@pytest.fixture
def connections(request: pytest.FixtureRequest) -> Connections:
    """The database connections that this test has out."""
    return Connections(request.config.stash[WATCH])


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
    """What a fixture of a wider scope than the test takes is not the test's."""
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
    """After the teardown: fails a test that left more connections behind than it may."""
    report = yield
    watch = item.config.stash.get(WATCH, None)
    marker = item.get_closest_marker("connection_leaks")
    if watch is None or call.when != "teardown" or not (marker or for_all(item.config)):
        return report
    left = watch.left(watch.numbers() - watch.before - watch.exempt)
    limit = marker.kwargs.get("limit", marker.args[0] if marker.args else 0) if marker else 0
    if len(left) > limit:
        count = f"{len(left)} connection{'s' if len(left) > 1 else ''}"
        words = f"the test left {count} behind" + (f", of which {limit} may" if limit else "") + ":\n"
        words += "\n".join(f"  {row}" for row in left)
        report.user_properties.append((PROPERTY, len(left)))
        report.sections.append((SECTION, words))
        if report.outcome == "passed":
            report.outcome = "failed"
            report.longrepr = words
    watch.exempt |= watch.numbers()  # told once: not the next test's
    return report


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    if report.when == "teardown" and report.failed and PROPERTY in dict(report.user_properties):
        return "leaked", "L", "LEAKED"
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Lists the tests that left connections behind, with their lines."""
    leaked = terminalreporter.stats.get("leaked", [])
    if leaked:
        terminalreporter.section(SECTION, sep="=")
        for report in leaked:
            terminalreporter.line(report.nodeid)
            for line in words_of(report):
                terminalreporter.line(line)


def words_of(report: Any) -> Iterator[str]:
    for title, text in report.sections:
        if title == SECTION:
            yield from text.splitlines()
