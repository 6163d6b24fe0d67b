"""Whose session it is on a server that an app shares with others: the sampler's answer, and the run's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from connleak.collectors.sampler import Sampler
from connleak.databases.server import Reading
from connleak.model.recording import Backend, Machine
from connleak.recording import reader
from connleak.recording.writer import Writer
from connleak.runner.session import Session
from support.builders import backend
from support.plans import plan


def named(pid: int, name: str, user: str = "app") -> Backend:
    return msgspec.structs.replace(backend(pid), application_name=name, usename=user)


class Shown:
    """A server that shows these sessions at each reading."""

    def __init__(self, *rows: Backend) -> None:
        self.rows = rows

    def read(self, *, full: bool) -> Reading:
        return Reading(0.1, {row.pid: row for row in self.rows})

    def close(self) -> None:
        pass


def sampled(folder: Path, rows: tuple[Backend, ...], belongs) -> tuple[set[int], dict[str, int]]:
    """Returns whom the recording shows of the sessions, and whom the sampler's last note names."""
    folder.mkdir()
    with Writer(folder, plan(), Machine()) as writer, Sampler(Shown(*rows), writer, 0.0, 60.0, belongs):
        pass
    made = reader.read(folder)
    return {row.pid for sample in made.samples for row in sample.backends}, made.notes[-1].facts.others


def test_on_a_server_of_the_apps_own_every_session_is_its_own(tmp_path: Path) -> None:
    rows = (named(1, "app"), named(2, "psql"))
    assert sampled(tmp_path / "run", rows, None) == ({1, 2}, {})


def test_on_a_shared_server_the_others_are_left_out_and_named_once(tmp_path: Path) -> None:
    rows = (named(1, "app"), named(2, "psql"), named(3, "psql"), named(4, "", "guest"))
    found = sampled(tmp_path / "run", rows, lambda row: row.application_name == "app")
    assert found == ({1}, {"psql": 1, "(no name, user guest)": 1})


@pytest.mark.parametrize(
    ("name", "known", "owned", "ours"),
    [
        ("connleak-app", False, False, True),
        ("psql", True, False, True),
        ("psql", False, True, True),
        ("psql", False, False, False),
    ],
)
def test_a_session_is_the_apps_by_its_name_by_the_probes_word_or_by_its_socket(
    name: str, known: bool, owned: bool, ours: bool
) -> None:
    session = SimpleNamespace(
        server=SimpleNamespace(app_name="connleak-app"),
        probes=SimpleNamespace(saw=lambda pid: known and pid == 7),
        app=SimpleNamespace(owns=lambda row: owned and row.client_port == 40007),
    )
    assert Session.is_of_app(session, named(7, name)) is ours
