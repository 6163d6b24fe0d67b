"""The lifecycle of a session: what each kind of plan is made of, and in which order parts start, fail and stop."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from connleak.databases.server import Server
from connleak.model.addresses import HostPort
from connleak.model.errors import Error, Unusable
from connleak.model.plan import PlanKind
from connleak.model.recording import NoteCode, Sample
from connleak.plan.options import Secrets
from connleak.processes.app import RemoteApp
from connleak.processes.load import LoadStatus, NoLoad, Outside
from connleak.processes.locust_load import DeferredLoad, LocustLoad, ServingLoad
from connleak.recording import reader
from connleak.runner import record as recording_room
from connleak.runner.compose import Composition, compose, probe
from connleak.runner.follow import Followed
from connleak.runner.foreground import UntilExit
from connleak.runner.parts import NO_SERVER, Callbacks, ExpectedHosts, NoHosts, NoSampler
from connleak.runner.phases import Cycles
from connleak.runner.preflight import answers_without_errors, sessions_are_on_this_server
from connleak.runner.record import record
from connleak.runner.session import Session
from connleak.runner.settling import idle_at_once, idle_when_settled
from connleak.runner.watch import Windows
from support.plans import plan

SCHEDULES = {
    "target": Cycles,
    "app": Cycles,
    "remote": Cycles,
    "watch": Windows,
    "follow": Followed,
    "probe": UntilExit,
}


@pytest.mark.parametrize("kind", get_args(PlanKind))
def test_each_kind_has_its_composition(kind: str) -> None:
    made = compose(plan(kind=kind), Secrets())
    assert type(made.schedule) is SCHEDULES[kind]
    assert made.judged_after_error == (kind in ("target", "app", "remote"))


def test_only_an_app_of_the_users_is_checked_before_it_is_judged() -> None:
    found = {kind: compose(plan(kind=kind), Secrets()).schedule for kind in ("target", "app", "remote")}
    assert [(len(made.early), len(made.late)) for made in found.values()] == [(0, 0), (1, 1), (0, 1)]
    assert found["app"].early == (answers_without_errors,)
    assert found["app"].late == found["remote"].late == (sessions_are_on_this_server,)
    assert compose(plan(kind="app", url=""), Secrets()).schedule.early == ()


def test_hosts_are_expected_where_probes_come_in_and_a_load_is_sent() -> None:
    listening = {"listen": HostPort("127.0.0.1", 7700)}
    kinds = ("target", "app", "remote", "watch", "follow")
    found = [compose(plan(kind=kind, **listening), Secrets()).hosts for kind in kinds]
    assert found == [ExpectedHosts, ExpectedHosts, ExpectedHosts, NoHosts, NoHosts]
    assert compose(plan(kind="app"), Secrets()).hosts is NoHosts


@pytest.mark.parametrize(
    ("changes", "load", "idle_window"),
    [
        ({}, LocustLoad, idle_when_settled),
        ({"load": "none"}, NoLoad, idle_at_once),
        ({"listens": "load"}, ServingLoad, idle_when_settled),
        ({"openapi": "http://127.0.0.1:1/openapi.json"}, DeferredLoad, idle_when_settled),
        ({"openapi": "/tmp/openapi.json"}, LocustLoad, idle_when_settled),
    ],
)
def test_the_load_and_the_idle_window_are_those_of_the_plan(
    changes: dict, load: type, idle_window: object, tmp_path: Path
) -> None:
    from types import SimpleNamespace

    made = compose(plan(**changes), Secrets())
    journal = SimpleNamespace(folder=tmp_path, origin=0.0, note=lambda *_: None)
    assert type(made.load(SimpleNamespace(), journal, {})) is load
    assert made.schedule.idle_window is idle_window


LOG: list[str] = []


class Part(NoLoad):
    """A part that writes what happens to it into LOG."""

    started = True

    def __init__(self, name: str, failing: str = "") -> None:
        super().__init__()
        self.name, self.failing = name, failing
        self.latest, self.thins = Sample(0.0, ()), False
        self.status = LoadStatus(elsewhere=Outside(refused={"elsewhere.example": 3}))

    def __enter__(self) -> Part:
        return self.happens("starts")

    def __exit__(self, *_: object) -> None:
        self.happens("stops")

    def wait_until_ready(self, timeout: float = 30) -> None:
        self.happens("is awaited")

    def happens(self, what: str) -> Part:
        LOG.append(f"{self.name} {what}")
        if what == self.failing:
            raise Error(f"{self.name} is broken, s3cret-word", "mend it", exit_code=4)
        return self

    processes = ports = lambda self: {}


class Walked:
    """A schedule that ends as it is told."""

    def __init__(self, end: BaseException | None = None) -> None:
        self.end = end

    def walk(self, session: Session) -> int:
        session.begin("load", 1)
        LOG.append("walks")
        if self.end:
            raise self.end
        return 7


def made_of(end: BaseException | None = None, **failing: str) -> Composition:
    @contextlib.contextmanager
    def database(*_: object):
        LOG.append("server starts")
        yield replace(NO_SERVER, password="s3cret-word")
        LOG.append("server stops")

    return replace(
        probe(plan(kind="probe"), Secrets()),
        database=database,
        environment=Server.environment,
        app=lambda *_: Part("app", failing.get("app", "")),
        load=lambda *_: Part("load", failing.get("load", "")),
        sampler=lambda *_: Part("sampler"),
        schedule=Walked(end),
        judged_after_error=True,
    )


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Record a session that is made of stand-ins; return its exit code and its recording."""
    LOG.clear()

    def run(made: Composition) -> int:
        monkeypatch.setattr(recording_room, "compose", lambda *_: made)
        callbacks = Callbacks(opened=lambda *_: LOG.append("opened"))
        return record(plan(kind="probe", cwd=str(tmp_path)), Secrets(), tmp_path / "run", callbacks)

    run.folder = tmp_path / "run"
    return run


def notes(folder: Path) -> dict[NoteCode, str]:
    return {note.code: note.text for note in reader.read(folder).notes}


def test_the_load_starts_before_the_app_and_all_stop_in_reverse_order(recorded) -> None:
    assert recorded(made_of()) == 7
    assert LOG == [
        "server starts", "load starts", "sampler starts", "opened", "app starts", "app is awaited", "load is awaited",
        "walks", "app stops", "sampler stops", "load stops", "server stops",
    ]  # fmt: skip
    assert [phase.name for phase in reader.read(recorded.folder).phases] == ["start", "load"]
    assert "elsewhere.example" in notes(recorded.folder)[NoteCode.REQUESTS_WITHHELD]


def test_the_secrets_of_the_logs_are_replaced_when_no_part_writes_any_more(recorded, monkeypatch) -> None:
    from connleak.runner import journal

    monkeypatch.setattr(journal, "redact_logs", lambda folder, known: LOG.append(f"scrubbed {'s3cret-word' in known}"))
    recorded(made_of())
    assert LOG[-2:] == ["server stops", "scrubbed True"]


def test_an_error_on_the_way_is_a_note_and_is_judged(recorded) -> None:
    assert recorded(made_of(Error("Locust ended: s3cret-word", "less it"))) == 0
    assert notes(recorded.folder)[NoteCode.RUN_FAILED] == "Locust ended: ***"
    assert LOG[-1] == "server stops"


@pytest.mark.parametrize("end", [Unusable("no sessions", "use {url}"), Error("interrupted by the disk", "df")])
def test_an_error_after_which_nothing_can_be_judged_is_raised_with_a_note(recorded, end: Error) -> None:
    with pytest.raises(type(end)):
        recorded(replace(made_of(end), judged_after_error=False))
    assert notes(recorded.folder)[NoteCode.RUN_FAILED] == end.message
    assert LOG[-1] == "server stops"


def test_an_interruption_before_the_session_is_open_has_the_exit_code_of_sigint(recorded) -> None:
    def interrupted(*_: object) -> Part:
        raise KeyboardInterrupt

    assert recorded(replace(made_of(), app=interrupted)) == 130
    assert notes(recorded.folder)[NoteCode.INTERRUPTED] == "interrupted in phase start of cycle 0"
    assert LOG == ["server starts", "server stops"]


def test_an_interruption_is_a_note_with_the_phase(recorded) -> None:
    assert recorded(made_of(KeyboardInterrupt())) == 0
    assert notes(recorded.folder)[NoteCode.INTERRUPTED] == "interrupted in phase load of cycle 1"


@pytest.mark.parametrize(("part", "what"), [("load", "starts"), ("app", "starts"), ("app", "is awaited")])
def test_what_cannot_be_opened_is_raised_and_what_was_opened_is_stopped(recorded, part: str, what: str) -> None:
    with pytest.raises(Error) as error:
        recorded(made_of(**{part: what}))
    assert error.value.message == f"{part} is broken, ***"
    assert notes(recorded.folder)[NoteCode.RUN_FAILED] == error.value.message
    assert "walks" not in LOG
    assert LOG[-1] == "server stops"


def test_what_cannot_be_stopped_is_a_note_with_what_to_type(recorded) -> None:
    assert recorded(made_of(app="stops")) == 7
    assert notes(recorded.folder)[NoteCode.CLEANUP_FAILED] == "app is broken, ***; mend it"


def test_the_kinds_without_a_load_or_a_server_have_null_objects(tmp_path: Path) -> None:
    made = compose(plan(kind="probe"), Secrets())
    assert isinstance(made.sampler(), NoSampler)
    with made.database() as server:
        assert server is NO_SERVER
    for kind in ("watch", "follow"):
        assert isinstance(compose(plan(kind=kind), Secrets()).load(), NoLoad)
        assert isinstance(compose(plan(kind=kind), Secrets()).app(), RemoteApp)


def test_record_reads_like_a_table_of_contents() -> None:
    assert len(inspect.getsource(record).splitlines()) < 30
