"""Plan -> Composition: the parts of a session of each kind. Pure: nothing is opened here."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from connleak.collectors.probe_collector import Collector
from connleak.collectors.sampler import Sampler
from connleak.databases.environment import filled, redirected, scheme_for
from connleak.databases.registry import open_database, reader_of, watched
from connleak.databases.server import Server
from connleak.model.addresses import DatabaseAddress
from connleak.model.plan import Plan
from connleak.model.recording import Backend
from connleak.plan.options import Secrets
from connleak.processes.app import App, AppPart, RemoteApp
from connleak.processes.load import Load, NoLoad
from connleak.processes.locust_load import DeferredLoad, LocustLoad, ServingLoad
from connleak.processes.supervisor import Supervisor
from connleak.recording.format import FILES
from connleak.runner.follow import Followed
from connleak.runner.foreground import ForegroundApp, UntilExit
from connleak.runner.journal import Journal
from connleak.runner.parts import NO_SERVER, ExpectedHosts, Hosts, NoHosts, NoSampler, SamplerPart
from connleak.runner.phases import Cycles
from connleak.runner.preflight import answers_without_errors, sessions_are_on_this_server
from connleak.runner.session import Session
from connleak.runner.session_locustfile import locustfile_of
from connleak.runner.settling import IdleWindow, idle_at_once, idle_when_settled
from connleak.runner.watch import Windows

Variables = Mapping[str, str]
LASTING = ("snapshots", "stacks", "phases", "notes")
"""The files of a command that may run for weeks: without its events."""


class Schedule(Protocol):
    """The phases of a session."""

    def walk(self, session: Session) -> int:
        """Go through the phases; return the exit code of a command in the foreground, else 0."""


@dataclass(frozen=True)
class Composition:
    """The functions that construct the parts of a session, and its schedule."""

    database: Callable[[Supervisor, Path], contextlib.AbstractContextManager[Server]]
    environment: Callable[[Server], Variables]
    """The variables by which the app and the load find the database."""
    app_environment: Callable[[Server], Variables]
    """Further variables of the app, from --env."""
    app: Callable[[Supervisor, Plan, Path, Variables], AppPart]
    load: Callable[[Supervisor, Journal, Variables], Load]
    hosts: Callable[[Collector, Plan, Callable[[], None]], Hosts]
    sampler: Callable[[Server, Journal, Callable[[Backend], bool]], SamplerPart]
    schedule: Schedule
    files: Collection[str] = tuple(FILES)
    """The files of the recording."""
    judged_after_error: bool = False
    """Whether the recording before an error of the app or the load is judged."""


def compose(plan: Plan, secrets: Secrets) -> Composition:
    """Return the composition of a plan's kind."""
    return {
        "target": target,
        "app": user_app,
        "remote": remote_apps,
        "watch": watch,
        "follow": follow,
        "probe": probe,
    }[plan.kind](plan, secrets)


def target(plan: Plan, secrets: Secrets) -> Composition:
    """A target of the corpus under load, on a database for this run."""
    return Composition(
        database=lambda supervisor, folder: open_database(supervisor, plan, secrets.database, folder),
        environment=Server.environment,
        app_environment=lambda _: secrets.env,
        app=App,
        load=load_of(plan, secrets),
        hosts=ExpectedHosts if plan.listen else NoHosts,
        sampler=sampler_of_app,
        schedule=Cycles(idle_window_of(plan)),
        judged_after_error=True,
    )


def user_app(plan: Plan, secrets: Secrets) -> Composition:
    """An app of the user's under load: its addresses are redirected to the database, and the first cycle checks it."""
    return replace(
        target(plan, secrets),
        environment=lambda server: server.environment() | redirected(os.environ, server, scheme_for(plan)),
        app_environment=lambda server: filled(secrets.env, server),
        schedule=Cycles(
            idle_window_of(plan),
            early=(answers_without_errors,) if plan.url else (),
            late=(sessions_are_on_this_server,),
        ),
    )


def remote_apps(plan: Plan, secrets: Secrets) -> Composition:
    """Apps on other hosts under load from here, with their database at an address."""
    return replace(
        target(plan, secrets),
        database=lambda *_: contextlib.nullcontext(watched(address_of(secrets), plan.remote)),
        app=lambda *_: RemoteApp(),
        sampler=sampler_of_server,
        schedule=Cycles(idle_window_of(plan), late=(sessions_are_on_this_server,)),
    )


def watch(plan: Plan, secrets: Secrets) -> Composition:
    """A live server under its own load."""
    return replace(
        remote_apps(plan, secrets),
        load=lambda *_: NoLoad(),
        hosts=NoHosts,
        schedule=Windows(),
        judged_after_error=False,
    )


def follow(plan: Plan, secrets: Secrets) -> Composition:
    """A live server under the load of another tool, which sends its start and its end."""
    return replace(watch(plan, secrets), schedule=Followed())


def probe(plan: Plan, secrets: Secrets) -> Composition:
    """A command with the probe alone."""
    return Composition(
        database=lambda *_: contextlib.nullcontext(NO_SERVER),
        environment=lambda _: {},
        app_environment=lambda _: {},
        app=ForegroundApp,
        load=lambda *_: NoLoad(),
        hosts=NoHosts,
        sampler=lambda *_: NoSampler(),
        schedule=UntilExit(),
        files=LASTING,
    )


def address_of(secrets: Secrets) -> DatabaseAddress:
    """Return the address of a server that connleak does not start; a plan without one was rejected."""
    assert secrets.database is not None
    return secrets.database


def load_of(plan: Plan, secrets: Secrets) -> Callable[[Supervisor, Journal, Variables], Load]:
    """Return the function that constructs the load of a plan."""
    if plan.load == "none":
        return lambda *_: NoLoad()
    served = "://" in plan.openapi
    made = DeferredLoad if served else ServingLoad if plan.listens == "load" else LocustLoad

    def locust(supervisor: Supervisor, journal: Journal, variables: Variables) -> Load:
        folder = journal.folder
        environment = {**variables, "REQUEST_HEADERS": json.dumps(secrets.headers)}
        return made(
            supervisor,
            plan,
            folder,
            journal.origin,
            environment,
            lambda: locustfile_of(plan, folder, journal.note),
        )

    return locust


def idle_window_of(plan: Plan) -> IdleWindow:
    """Return how the idle window of a cycle begins: a job-only app has no requests to drain."""
    return idle_at_once if plan.load == "none" else idle_when_settled


def sampler_of_app(server: Server, journal: Journal, is_of_app: Callable[[Backend], bool]) -> Sampler:
    """Return the sampler of the app's sessions, which are all sessions of a database that the run created."""
    return sampler(server, journal, None if server.own_database else is_of_app)


def sampler_of_server(server: Server, journal: Journal, _: Callable[[Backend], bool]) -> Sampler:
    """Return the sampler of all sessions on the server."""
    return sampler(server, journal, None)


def sampler(server: Server, journal: Journal, belongs: Callable[[Backend], bool] | None) -> Sampler:
    plan, origin = journal.plan, journal.origin
    return Sampler(reader_of(server, origin), journal.writer, origin, plan.sample_every, belongs, plan.window)
