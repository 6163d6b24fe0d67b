"""Fixtures: a supervisor, a real PostgreSQL, and a writer for the recording of a sampler or a collector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from connleak.databases.postgres import open_postgres
from connleak.databases.server import Server
from connleak.model.recording import Machine
from connleak.processes.supervisor import Supervisor
from connleak.recording.writer import Writer
from support.lab import Lab
from support.plans import server_plan


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as opened:
        yield opened


@pytest.fixture
def server(supervisor: Supervisor, tmp_path: Path) -> Iterator[Server]:
    with open_postgres(supervisor, server_plan(), None, tmp_path) as opened:
        yield opened


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "run", server_plan(), Machine()) as opened:
        yield opened


@pytest.fixture
def lab(server: Server, writer: Writer, supervisor: Supervisor, tmp_path: Path) -> Iterator[Lab]:
    """A lab that runs scripts with the probe in a folder."""
    folder = tmp_path / "app"
    folder.mkdir()
    with ExitStack() as stack:
        yield Lab(server, writer, supervisor, folder, stack)
