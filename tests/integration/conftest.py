"""A keeper and a real PostgreSQL for a test, and a sampler's or a collector's recording to look into."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from connleak.databases.postgres.local import open_postgres
from connleak.databases.server import Server
from connleak.model.plan import Database, Phases, Plan
from connleak.model.recording import Machine
from connleak.processes.supervisor import Keeper
from connleak.recording.writer import Writer

if TYPE_CHECKING:
    from lab import Lab


def make_plan(**changes: object) -> Plan:
    values: dict = {
        "kind": "target",
        "target": "test", "variant": "test", "app": "true", "cwd": "/", "url": "", "scenario": "", "users": 1,
        "phases": Phases(), "cycles": 1, "database": Database(max_connections=20),
    }  # fmt: skip
    return Plan(**{**values, **changes})


def wait_until(condition: Callable[[], object], what: str, timeout: float = 10) -> None:
    """Returns once the condition holds; fails with `what` otherwise."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain: {what}"
        time.sleep(0.02)


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    with Keeper() as opened:
        yield opened


@pytest.fixture
def server(keeper: Keeper, tmp_path: Path) -> Iterator[Server]:
    with open_postgres(keeper, make_plan(), "", tmp_path) as opened:
        yield opened


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "run", make_plan(), Machine()) as opened:
        yield opened


@pytest.fixture
def lab(server: Server, writer: Writer, keeper: Keeper, tmp_path: Path) -> Iterator[Lab]:
    """Runs scripts with the probe in a folder of their own."""
    from lab import Lab

    folder = tmp_path / "app"
    folder.mkdir()
    with ExitStack() as stack:
        yield Lab(server, writer, keeper, folder, stack)
