"""Options and target.toml -> Plan: every validation, and its message, is here."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from connleak import __version__
from connleak.model.errors import Error
from connleak.model.outcomes import OUTCOMES
from connleak.model.plan import Database, Phases, Plan
from connleak.plan import catalog
from connleak.plan.app import (
    app_plan,
    environment,
    existing_file,
    from_environment,
    headers,
    typed_headers,
    typed_secrets,
)
from connleak.plan.options import Options, Private
from connleak.processes.ports import free_port
from connleak.processes.sockets import host_and_port
from connleak.recording.redaction import redact_value

__all__ = ["Options", "Private", "requests_a_second", "resolve"]


def resolve(options: Options) -> tuple[Plan, Private]:
    """Returns the plan, and what is too private to be written into it."""
    validate(options)
    plan = target_plan(options) if options.target else app_plan(options)
    kind, source, address = database_of(options, plan.database.kind)
    phases = plan.phases
    if options.load is not None:
        phases = msgspec.structs.replace(phases, load=options.load)
    if options.drain is not None:
        phases = msgspec.structs.replace(phases, drain=options.drain)
    limit = options.max_connections or plan.database.max_connections
    settings = {"pool_mode": options.pgbouncer} if options.pgbouncer else plan.database.settings
    database = msgspec.structs.replace(
        plan.database, kind=kind, source=source, max_connections=limit, settings=settings
    )
    env, asked_with = environment(options.env), typed_headers(options.header)
    made = msgspec.structs.replace(
        plan,
        phases=phases,
        cycles=options.cycles,
        early_stop=options.early_stop,
        database=database,
        users=options.users or plan.users,
        seed=options.seed,
        probe=options.probe or plan.probe,
        expect=options.expect or "",
        at_rate=requests_a_second(options.at_rate) if options.at_rate else 0.0,
        gc=options.gc,
        canary=options.canary,
        sensitivity=leaks_a_request(options.sensitivity) if options.sensitivity else 0.0,
        limit=options.limit,
        budget=options.budget,
        workers=options.workers,
        expect_workers=options.expect_workers,
        master_bind=options.master_bind or "",
        expect_apps=options.expect_apps,
        listen=options.listen or "",
        remote=options.allow_remote,
        argv=options.argv,
        tool_version=__version__,
        env={name: redact_value(name, value) for name, value in env.items()},
        headers={name: redact_value(name, value) for name, value in asked_with.items()},
    )
    validate_made(made)
    filled = {name: from_environment(value, "--env") for name, value in env.items()}
    return made, Private(address, filled, headers(options.header), typed_secrets(options))


def validate(options: Options) -> None:
    """Raises Error for an option whose value makes no sense."""
    example = "connleak run missing_remove"
    if (options.target and options.app) or not (options.target or options.app or options.listen):
        raise Error(
            "run takes a target or --app, one of them", f"{example}, or: connleak run --app 'COMMAND' --url URL"
        )
    if options.expect_workers and not options.master_bind:
        raise Error(
            "--expect-workers takes the address at which they find the master",
            f"connleak run ... --expect-workers {options.expect_workers} --master-bind 10.0.0.1:5557",
        )
    for name, address in (("--listen", options.listen), ("--master-bind", options.master_bind)):
        if address:
            host_and_port(address, name)
    if options.target:
        for option, value in (("--python", options.python), ("--setup", options.setup), ("--sql", options.sql)):
            if value:
                raise Error(f"{option} goes with --app: a target brings its own", f"{example} --help")
        for option, value in (("--path", options.path), ("--openapi", options.openapi), ("--header", options.header)):
            if value:
                raise Error(f"{option} goes with --app: a target has its scenario", f"{example} --locustfile FILE")
    for name, seconds in (("--load", options.load), ("--drain", options.drain), ("--limit", options.limit)):
        if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
            raise Error(f"{name} is {seconds:g}; it is a number of seconds above 0", f"{example} {name} 2")
    for name, count, least in (
        ("--cycles", options.cycles, 1),
        ("--users", options.users, 1),
        ("--max-connections", options.max_connections, 10),
        ("--budget", options.budget, 0),
        ("--workers", options.workers, 0),
        ("--expect-workers", options.expect_workers, 0),
        ("--expect-apps", options.expect_apps, 1),
    ):
        if count is not None and count < least:
            raise Error(f"{name} is {count}; it is at least {least}", f"{example} {name} {max(least, 3)}")
    if options.expect and options.expect not in OUTCOMES:
        close = catalog.nearest(options.expect, OUTCOMES)
        raise Error(
            f"--expect {options.expect}: no such outcome{close}; there are: {', '.join(OUTCOMES)}",
            f"{example} --expect leak",
        )


def validate_made(plan: Plan) -> None:
    """Raises Error for options that do not go together."""
    if not plan.app and plan.database.source != "url":
        raise Error(
            "an app that runs elsewhere has its database elsewhere, too: which is it?",
            "connleak run --listen HOST:PORT --url URL --postgres postgresql://...",
        )
    if plan.canary and plan.probe == "off":
        raise Error(
            "--canary plants its leak through the probe, and --probe off has none", "connleak run ... --probe pool"
        )
    if plan.sensitivity and plan.load == "none":
        raise Error(
            "--sensitivity counts requests, and this app gets none: its rates are per hour",
            "connleak run ... --load 60, for a longer look",
        )
    if plan.budget is not None and plan.probe != "off":
        raise Error(
            "--budget tells what the pools may keep, which the probe sees by itself",
            f"connleak run ... --probe off --budget {plan.budget}",
        )


def leaks_a_request(text: str) -> float:
    """Returns the rate of a --sensitivity value: `1/10000`, or `0.0001`."""
    number, _, per = text.partition("/")
    try:
        rate = float(number) / float(per or 1)
    except (ValueError, ZeroDivisionError):
        rate = 0.0
    if not 1e-7 <= rate <= 1:
        raise Error(
            f"--sensitivity {text}: it takes a leak rate per request such as 1/1000, down to 1/10000000",
            "connleak run missing_remove:fixed --sensitivity 1/1000",
        )
    return rate


def requests_a_second(text: str) -> float:
    """Returns the rate of an --at-rate value: `20/s`, `1200/min`, `72000/h`; a bare number is a second's."""
    number, _, per = text.partition("/")
    seconds = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}.get(per.strip())
    try:
        rate = float(number) / (seconds or 0.0)
    except (ValueError, ZeroDivisionError):
        rate = 0.0
    if not 0 < rate < math.inf:
        raise Error(
            f"--at-rate {text}: it takes a rate of requests such as 20/s, 1200/min or 72000/h",
            "connleak run missing_remove --at-rate 20/s",
        )
    return rate


STARTED = ("auto", "embedded", "system")
"""Words of --postgres for a server that we start from its programs; a version is one, too."""


def database_of(options: Options, kind: str) -> tuple[str, str, str]:
    """Returns (kind, source, address) of the database: a target's kind, or what an app of the user's own asks for."""
    if options.mysql and kind != "mysql" and not options.app:
        raise Error(f"--mysql {options.mysql}: this target's database is {kind}", "connleak run tcp_mysql")
    started = options.postgres in STARTED or options.postgres.isdigit()
    if options.pgbouncer and not (options.app and started):
        raise Error(
            "--pgbouncer goes with --app and a PostgreSQL that connleak starts from its programs",
            f"connleak run --app 'COMMAND' --pgbouncer {options.pgbouncer} --postgres auto",
        )
    if options.mysql and (options.pgbouncer or options.postgres != "auto"):
        raise Error(
            "--mysql and --postgres are two databases: one of them", "connleak run --app 'COMMAND' --mysql system"
        )
    if kind == "mysql" or options.mysql:
        return "mysql", *mysql_source(options.mysql or "system")
    source, address = database_source(options.postgres)
    return "pgbouncer" if options.pgbouncer else kind, source, address


def mysql_source(text: str) -> tuple[str, str]:
    """Returns (source, address) of a --mysql value."""
    if text == "system":
        return text, ""
    if "://" in text:
        return "url", text
    raise Error(
        f"--mysql {text}: it takes system, or an address mysql://user:password@HOST:PORT/dbname",
        "connleak run --app 'COMMAND' --mysql system",
    )


def database_source(text: str) -> tuple[str, str]:
    """Returns (source, address) of a --postgres value."""
    if text in STARTED or text.isdigit():
        return text, ""
    if text == "docker" or (text.startswith("docker:") and "://" not in text):
        return text, ""
    if "://" in text:
        return "url", text
    raise Error(
        f"--postgres {text}: it takes auto, embedded, system, docker[:IMAGE], a version such as 16, or postgresql://...",
        "connleak run missing_remove --postgres auto",
    )


def target_plan(options: Options) -> Plan:
    """Returns the plan for a target of the corpus."""
    target, variant = catalog.find(options.target or "")
    port = free_port()
    command = variant.serve.format(host="127.0.0.1", port=port, module=variant.module)
    locustfile = options.locustfile or str(catalog.scenario(variant.scenario))
    schema = Path(target.folder, "schema.sql")
    return Plan(
        kind="target",
        target=target.name,
        variant=variant.name,
        app=command,
        cwd=target.folder,
        url=f"{'tcp' if variant.listens == 'tcp' else 'http'}://127.0.0.1:{port}" if "{port}" in variant.serve else "",
        scenario=existing_file(locustfile, "--locustfile"),
        users=variant.users,
        phases=Phases(load=variant.load_seconds),
        cycles=options.cycles,
        database=Database(kind=target.database, max_connections=variant.max_connections, settings=target.pooler),
        probe=variant.probe,
        load=variant.load or "locust",
        listens=variant.listens,
        services=target.services,
        hours=target.hours,
        sql=str(schema) if schema.exists() else "",
        requirements=variant.requirements,
        python=variant.python,
    )
