"""Plan -> recording: opens the parts in order, walks the phases, stops everything in reverse order.

baseline -> (load -> drain -> rest) x cycles -> quiet -> collect. The one function with effects is `record`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

from connleak.collectors.authentication import need_secret
from connleak.collectors.probe_collector import Collector
from connleak.collectors.sampler import Sampler
from connleak.databases import environment as own_app
from connleak.databases.registry import open_database, reader_of, run_sql, watched
from connleak.judging import judge
from connleak.judging.audit import short_sessions
from connleak.judging.facts import Facts
from connleak.judging.stopping import is_settled, requests_for, requests_landed
from connleak.model.errors import Error, Unusable
from connleak.model.plan import Plan
from connleak.model.recording import Backend, NoteCode, NoteFacts, Recording
from connleak.plan import locustfile, openapi
from connleak.plan.options import Secrets
from connleak.processes.app import App, Elsewhere
from connleak.processes.load import Load
from connleak.processes.services import open_services
from connleak.processes.sockets import listen_tcp
from connleak.processes.supervisor import Supervisor
from connleak.recording import reader
from connleak.recording.redaction import redact, redact_logs, secret_values
from connleak.recording.writer import Writer
from connleak.runner.log_patterns import LOGS, words_in
from connleak.runner.machine import machine
from connleak.runner.session import (
    PROBE_ANSWERS,
    Report,
    Run,
    answering,
    note_stopped,
    pass_time,
    show,
    take_snapshot,
    ticks,
)

COMING = 120.0
"""Seconds in which hosts and workers must come that somebody else starts."""
ELSEWHERE = {
    "redirects": "redirects to other hosts were not followed",
    "refused": "requests to other hosts were refused",
}
"""What a load does not do, by the name that the plug-in counts it by."""
STRETCH = 20.0
"""Seconds that one load lasts at most when a sensitivity asks for many requests."""


def record(plan: Plan, secrets: Secrets, folder: Path, report: Report) -> None:
    """Leaves a recording in `folder`; raises Error when nothing could be run, with all processes ended."""
    run = Run(plan, folder, report)
    folder = run.folder
    run.secrets |= secret_values({**os.environ, **secrets.env}, secrets.headers) | set(secrets.words)
    with contextlib.ExitStack() as parts:
        parts.callback(redact_logs, folder, run.secrets)  # the last: when nobody writes there any more
        run.writer = parts.enter_context(Writer(folder, plan, machine()))
        try:
            open_parts(run, parts.enter_context(closing(run)), secrets)
            try:
                walk(run)
            except Unusable:
                raise
            except Error as error:  # the app or the load ended on the way: what there is can be judged
                run.note_error(error)
        except KeyboardInterrupt:
            run.note(NoteCode.INTERRUPTED, f"interrupted in phase {run.phase} of cycle {run.cycle}")
        except Error as error:
            error.message = redact(error.message, run.secrets)  # a log's last lines may be in it
            run.note_error(error)
            raise
        finally:
            if hasattr(run, "keeper"):
                note_stopped(run)
            run.begin("end", run.cycle)
            note_words(run)
            note_elsewhere(run)


@contextlib.contextmanager
def closing(run: Run) -> Iterator[contextlib.ExitStack]:
    """Yields the stack of the parts; what cannot be ended or removed at the end is a note with what to type."""
    parts = contextlib.ExitStack()
    try:
        yield parts
    finally:
        try:
            parts.close()
        except Error as error:
            run.note(NoteCode.CLEANUP_FAILED, f"{error.message}; {error.hint}")


def open_parts(run: Run, parts: contextlib.ExitStack, secrets: Secrets) -> None:
    """Starts server, sampler, collector, app and load, as much side by side as they allow."""
    plan = run.plan
    run.begin("start", 0)
    show(run)
    keeper = run.keeper = parts.enter_context(Supervisor())
    services = parts.enter_context(open_services(keeper, plan.services, run.folder))
    here = bool(plan.app)
    if here:
        run.server = parts.enter_context(open_database(keeper, plan, secrets.database, run.folder))
    else:
        assert secrets.database is not None, "an app on other hosts has its database at an address"
        run.server = watched(secrets.database, plan.remote)
    run.secrets |= {run.server.password} - {""}
    told = run.server.environment() | services
    own = here and plan.target == "app"
    if own:
        told |= own_app.redirected(os.environ, run.server, own_app.scheme_for(plan))
    run.load = Load(keeper, plan, run.folder, run.origin, told | {"REQUEST_HEADERS": json.dumps(secrets.headers)})
    late = "://" in plan.openapi  # the app itself has the document
    if not late:
        start_load(run, parts)
    if plan.sql:
        run_sql(run.server, Path(plan.sql))
    run.collector = parts.enter_context(Collector(run.writer, keeper.scratch, run.origin, Path(plan.cwd)))
    if plan.listen:
        far = listen_tcp(plan.listen.host, plan.listen.port)
        run.collector.listen(far, need_secret(), plan)
    environment = told | (own_app.filled(secrets.env, run.server) if own else secrets.env)
    if plan.probe != "off":
        environment |= run.collector.environment(plan) | run.server.probe_environment()
    if plan.requirements or plan.python:
        run.phase = "environment"  # made on first use, which takes some seconds, and kept
        show(run)
    run.app = App(keeper, plan, run.folder, environment) if here else Elsewhere()
    belongs = None if run.server.own_database or not here else lambda backend: is_ours(run, backend)
    reader = reader_of(run.server, run.origin)
    run.sampler = parts.enter_context(Sampler(reader, run.writer, run.origin, plan.sample_every, belongs))
    parts.enter_context(answering(run))
    if plan.listens == "load":
        run.load.wait_until_ready()
    for text in run.server.notes:
        run.note(NoteCode.SERVER_SETUP, text)
    if isinstance(run.app, App):
        own_app.set_up(keeper, plan, run.app, run.folder)
        parts.enter_context(run.app)
        run.app.wait_until_answering()
    if plan.listen:
        wait_for_apps(run)
    if late:
        start_load(run, parts)
    run.load.wait_until_ready(COMING if plan.expect_workers else 30)


def wait_for_apps(run: Run) -> None:
    """Returns once the probes of as many other hosts have come as are expected; raises Error when they do not."""
    run.phase = "apps"
    deadline = time.monotonic() + COMING
    assert run.collector.relays is not None
    while len({peer.host for peer in run.collector.living() if peer.host}) < run.plan.expect_apps:
        show(run)
        if time.monotonic() > deadline:
            came = ", ".join(run.collector.relays.hosts()) or "none"
            raise Error(
                f"{run.plan.expect_apps} hosts with an app were expected within {COMING:.0f} s; there came: {came}",
                f"connleak probe --collector {run.plan.listen} -- COMMAND, on each of them",
                exit_code=4,
            )
        time.sleep(0.1)


def start_load(run: Run, parts: contextlib.ExitStack) -> None:
    """Starts Locust, with the locustfile that was given or one that is made now of paths or an OpenAPI document."""
    plan = run.plan
    requests, secrets = locustfile.with_references(plan.requests)
    run.load.secrets |= secrets
    variables = locustfile.references_in(requests)  # those that the user named: a document reads no variable
    if plan.openapi:
        budget = openapi.Budget()
        document = own_app.read_document(plan.openapi, plan.remote)
        requests, variables = openapi.requests_from_openapi(document, budget), set()
        for text in budget.notes():
            run.note(NoteCode.LOAD_LIMITED, text)
    if requests:
        path = run.folder / "locustfile.py"
        origin = "--openapi" if plan.openapi else "--request"
        path.write_text(locustfile.render(requests, path.name, origin, variables), encoding="utf-8")
        run.load.scenario = str(path)
    parts.enter_context(run.load)


def is_ours(run: Run, backend: Backend) -> bool:
    """Tells whether a session on a shared server is the app's: by name, by the probe's word, or by its port."""
    return backend.application_name == run.server.app_name or run.collector.saw(backend.pid) or run.app.owns(backend)


def begin_baseline(run: Run) -> None:
    """Writes what the server says of itself: the phase in which nothing happens yet."""
    server = run.server
    run.begin(
        "baseline",
        0,
        kind=server.kind,
        version=server.version,
        max_connections=server.max_connections,
        reserved=server.reserved,
        ours=server.own_server,
        own_database=server.own_database,
    )


def walk(run: Run) -> None:
    """Goes through the phases."""
    plan = run.plan
    begin_baseline(run)
    pass_time(run, plan.phases.baseline)
    take_snapshot(run, "baseline", 0)
    while goes_on(run):
        one_cycle(run, run.cycle + 1)
    run.begin("quiet", run.cycle)
    take_snapshot(run, "quiet", run.cycle)
    pass_time(run, plan.phases.quiet)
    take_snapshot(run, "quiet", run.cycle)
    collect(run)


def goes_on(run: Run) -> bool:
    """Tells whether another cycle is worth its time: never fewer than two, never one that could not change anything."""
    plan, done = run.plan, run.cycle
    run.more = max(0, plan.cycles - done)
    if done < min(2, plan.cycles):
        return True
    read = reader.read(run.folder)
    if plan.early_stop and done >= 2 and is_settled(read):
        if run.more or plan.sensitivity:
            text = f"stopped after cycle {done} of {plan.cycles}: more could not change the verdict"
            run.note(NoteCode.STOPPED_EARLY, text)
        return False
    return wants_more(run, read) if plan.sensitivity else run.more > 0


def wants_more(run: Run, read: Recording) -> bool:
    """Tells whether the asked sensitivity takes more requests; lengthens the loads to what is left."""
    plan, done = run.plan, run.cycle
    needed, had = requests_for(plan.sensitivity), requests_landed(read)
    why = ""
    if had >= needed and (plan.early_stop or not run.more):
        why = f"{had} requests are enough for the sensitivity that was asked"
    elif run.now() > plan.limit:
        why = f"{had} of {needed} requests when --limit {plan.limit:g} was over"
    elif not run.more and judge(read).outcome == "leak":
        why = "a leak was found"
    if why:
        run.note(NoteCode.STOPPED_EARLY, f"stopped after cycle {done}: {why}")
        return False
    left = 1.05 * max(0, needed - had) * run.loaded / max(1, had)
    run.load_seconds = min(STRETCH, max(plan.phases.load, left / max(1, run.more)))
    run.more = max(run.more, math.ceil(left / run.load_seconds))
    return True


def one_cycle(run: Run, cycle: int) -> None:
    """One load, its drain, and the second of rest that ends it."""
    plan = run.plan
    run.begin("load", cycle)
    run.load.start()
    if cycle == 1 and plan.target == "app" and plan.app and plan.url:
        pass_time(run, min(1.0, run.load_seconds))
        own_app.need_answers(plan, run.folder)
        pass_time(run, run.load_seconds - min(1.0, run.load_seconds))
    else:
        pass_time(run, run.load_seconds)
    run.loaded += run.load_seconds
    if plan.canary and cycle == 1:
        planted = run.collector.plant()
        text = f"canary: {planted or 'none could be planted'}"
        run.note(NoteCode.CANARY, text, NoteFacts(canary=planted or ""))
    facts = run.load.stop()
    if facts.get("estimated"):
        words = "requests are of workers without connleak's plug-in: their moments are known to three seconds"
        run.note(NoteCode.REQUESTS_ESTIMATED, f"{facts['estimated']} {words}", NoteFacts(count=facts["estimated"]))
    run.begin("drain", cycle, cut=facts.get("cut", False), requests=facts.get("requests", 0))
    if plan.load == "none":  # a job-only app has no requests to drain: its jobs go on
        began = run.now()
        pass_time(run, plan.phases.settle)
        run.begin("rest", cycle, began, settled=True)
    else:
        settled = wait_until_settled(run)
        run.begin(
            "rest",
            cycle,
            run.now() - plan.phases.settle,
            settled=settled,
            out=run.collector.out,
            waiting=run.collector.waiting,
        )
    take_snapshot(run, "rest", cycle)
    if cycle == 1 and plan.target == "app" and run.load.status["requests"] and not saw_sessions(run):
        own_app.need_sessions(plan, run.app, run.server, run.load.status["requests"])


def saw_sessions(run: Run) -> bool:
    """Tells whether the server has shown any session of the app so far, or counted one too short to be seen."""
    facts = Facts(reader.read(run.folder))
    return short_sessions(facts) > 0 or any(sample.backends for sample in facts.recording.samples)


def wait_until_settled(run: Run) -> bool:
    """Returns True once nothing has changed for a while, False when the drain's time is over."""
    deadline = time.monotonic() + max(run.plan.phases.drain, longest_pool_timeout(run) + 5)
    level = in_flight(run)
    since = time.monotonic()
    for _ in ticks(run, 0.05):
        now = in_flight(run)
        if now != level or run.collector.waiting:
            level, since = now, time.monotonic()
        if time.monotonic() - since >= run.plan.phases.settle:
            return True
        if time.monotonic() > deadline:
            return False
    return False


def in_flight(run: Run) -> int:
    """Returns the number of checkouts out; without a probe, of sessions that are not idle."""
    if run.collector.living():
        return run.collector.out
    return sum(backend.state != "idle" for backend in run.sampler.latest.backends)


def longest_pool_timeout(run: Run) -> float:
    """Returns the longest time that a caller may wait for one of the app's pools, as the last snapshot knew it."""
    return max((pool.timeout for pool in run.last_snapshot.pools if pool.checked_out), default=0.0)


def note_words(run: Run) -> None:
    """Notes what the app's and the server's log say of sessions that were refused or misused."""
    for name, phrases in LOGS.items():
        for phrase, count in words_in(run.folder / name, phrases).items():
            text = f"{name} says {count} times: {phrase.strip()}"
            run.note(phrases[phrase], text, NoteFacts(phrase=phrase, count=count))


def note_elsewhere(run: Run) -> None:
    """Notes what of the load would have left this machine, and did not."""
    told = run.load.status.get("elsewhere", {}) if hasattr(run, "load") else {}
    for kind, words in ELSEWHERE.items():
        found = told.get(kind)
        if found:
            allow = f"; if it is yours to load: --allow-remote {next(iter(found))}" if kind == "refused" else ""
            text = f"{sum(found.values())} {words}: {', '.join(found)}{allow}"
            run.note(NoteCode.REQUESTS_WITHHELD, text, NoteFacts(elsewhere=found))


def collect(run: Run) -> None:
    """Runs the cyclic collector in every process, waits a moment, and asks again."""
    run.begin("collect", run.cycle)
    if run.plan.probe == "off":
        return
    _, silent = run.collector.collect()
    if silent:
        text = f"collect unavailable in {silent} process(es): their probe's thread does not run"
        run.note(NoteCode.COLLECT_UNAVAILABLE, text)
    pass_time(run, PROBE_ANSWERS)
    take_snapshot(run, "collect", run.cycle)
