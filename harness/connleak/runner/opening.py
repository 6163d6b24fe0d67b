"""Open a session: construct its parts, start them side by side as far as they allow, and wait until they are ready."""

from __future__ import annotations

import contextlib
from pathlib import Path

from connleak.collectors.authentication import need_secret
from connleak.collectors.probe_collector import Collector
from connleak.databases.registry import run_sql
from connleak.databases.server import Server
from connleak.model.recording import Backend, NoteCode
from connleak.processes.services import open_services
from connleak.processes.sockets import listen_tcp
from connleak.processes.supervisor import Supervisor
from connleak.runner.compose import Composition, Variables
from connleak.runner.journal import Journal
from connleak.runner.parts import COMING, Callbacks
from connleak.runner.session import Session, answering, first_progress

STARTING = 30.0
"""Seconds in which the app and the load must be ready."""


def open_session(made: Composition, journal: Journal, parts: contextlib.ExitStack, callbacks: Callbacks) -> Session:
    """Return a complete session whose parts are ready; `parts` closes them in reverse order."""
    journal.begin("start", 0)
    callbacks.progress(first_progress(journal))
    supervisor = parts.enter_context(Supervisor())
    journal.stopped = supervisor.stopped
    services = parts.enter_context(open_services(supervisor, journal.plan.services, journal.folder))
    server = parts.enter_context(made.database(supervisor, journal.folder))
    journal.secrets |= {server.password} - {""}
    session = assemble(made, journal, supervisor, server, services, callbacks)
    start_parts(session, made, parts)
    return session


def assemble(
    made: Composition,
    journal: Journal,
    supervisor: Supervisor,
    server: Server,
    services: Variables,
    callbacks: Callbacks,
) -> Session:
    """Return the session with all its parts, none of which is started."""
    plan = journal.plan
    probes = Collector(journal.writer, supervisor.scratch, journal.origin, Path(plan.cwd))
    variables = {**made.environment(server), **services}
    app_variables = {**variables, **made.app_environment(server)}
    if plan.probe != "off":
        app_variables |= probes.environment(plan) | server.probe_environment()

    def is_of_app(backend: Backend) -> bool:
        return session.is_of_app(backend)

    session = Session(
        journal=journal,
        supervisor=supervisor,
        server=server,
        app=made.app(supervisor, plan, journal.folder, app_variables),
        load=made.load(supervisor, journal, variables),
        probes=probes,
        sampler=made.sampler(server, journal, is_of_app),
        callbacks=callbacks,
        more=plan.cycles,
        load_seconds=plan.phases.load,
    )
    return session


def start_parts(session: Session, made: Composition, parts: contextlib.ExitStack) -> None:
    """Start the load first, which takes a second to import Locust, then the observers, then the app."""
    plan, journal = session.plan, session.journal
    parts.enter_context(session.load)
    if plan.sql:
        run_sql(session.server, Path(plan.sql))
    parts.enter_context(session.probes)
    if plan.listen:
        session.probes.listen(listen_tcp(plan.listen.host, plan.listen.port), need_secret(), plan)
    if plan.requirements or plan.python:
        journal.phase = "environment"  # made on first use, which takes some seconds
        session.show()
    parts.enter_context(session.sampler)
    parts.enter_context(answering(session))
    session.callbacks.opened(journal.folder, journal.origin)
    for text in session.server.notes:
        session.note(NoteCode.SERVER_SETUP, text)
    parts.enter_context(session.app)
    session.app.wait_until_ready(STARTING)
    wait_for_hosts(session, made)
    session.load.wait_until_ready(COMING if plan.expect_workers else STARTING)


def wait_for_hosts(session: Session, made: Composition) -> None:
    """Wait for the hosts on which the user starts the app, if there are any."""
    hosts = made.hosts(session.probes, session.plan, session.show)
    session.journal.phase = hosts.phase or session.journal.phase
    hosts.wait_until_ready(COMING)
