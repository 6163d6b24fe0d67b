"""RunOptions -> Plan and Secrets: every check of an option is here, or in a module that this one calls."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from connleak.model.addresses import HostPort
from connleak.model.errors import Error
from connleak.model.plan import Phases, Plan
from connleak.plan.addresses import parse_host_port
from connleak.plan.app import app_plan, fill_in, filled_headers, secret_values_of
from connleak.plan.database import database_plan
from connleak.plan.fields import FIELDS, check_types
from connleak.plan.options import RunOptions, Secrets
from connleak.plan.target import target_plan
from connleak.recording.redaction import redact_value
from connleak.version import __version__

EXAMPLE = "connleak run missing_remove"
COPIED = (
    "argv", "canary", "cycles", "expect", "expect_apps", "expect_workers", "gc", "limit", "probe", "seed", "users",
    "workers",
)  # fmt: skip
"""Options that the plan has by the same name; None leaves what the target, or the app's plan, has."""
OF_AN_APP = {
    "python": "a target has its own environment",
    "setup": "a target has its own setup",
    "sql": "a target has its own schema",
    "request": "a target has its own scenario; use --locustfile for another",
    "openapi": "a target has its own scenario; use --locustfile for another",
    "header": "a target has its own scenario; use --locustfile for another",
}
"""Options that a target excludes, with the reason."""


def resolve(options: RunOptions) -> tuple[Plan, Secrets]:
    """Return the plan of a run, and separately its secrets, which must not be written into the recording."""
    check_types(options)
    check_combinations(options)
    plan = target_plan(options) if options.target else app_plan(options)
    database, address = database_plan(options, plan.database)
    made = msgspec.structs.replace(
        plan,
        **copied(options),
        phases=phases(options, plan.phases),
        database=database,
        early_stop=not options.all_cycles,
        sensitivity=parse_sensitivity(options.sensitivity) if options.sensitivity else 0.0,
        at_rate=parse_request_rate(options.at_rate) if options.at_rate else 0.0,
        max_idle_connections=options.max_idle,
        listen=host_port(options.listen, "--listen"),
        master_bind=host_port(options.master_bind, "--master-bind"),
        remote=options.allow_remote,
        tool_version=__version__,
        env={name: redact_value(name, value) for name, value in options.env.items()},
        headers={name: redact_value(name, value) for name, value in options.header.items()},
    )
    check_plan(made)
    env = {name: fill_in(value, "--env") for name, value in options.env.items()}
    return made, Secrets(address, env, filled_headers(options.header), secret_values_of(options))


def copied(options: RunOptions) -> dict[str, Any]:
    """Return the options that were given of those that the plan has by the same name."""
    return {name: value for name in COPIED if (value := getattr(options, name)) is not None}


def phases(options: RunOptions, default: Phases) -> Phases:
    """Return the lengths of the phases."""
    load = default.load if options.load is None else options.load
    drain = default.drain if options.drain is None else options.drain
    return msgspec.structs.replace(default, load=load, drain=drain)


def host_port(text: str | None, option: str) -> HostPort | None:
    """Return an optional address."""
    return parse_host_port(text, option) if text else None


def check_combinations(options: RunOptions) -> None:
    """Raise Error for options that exclude each other."""
    if (options.target and options.app) or not (options.target or options.app or options.listen):
        raise Error("expected either a target or --app", f"{EXAMPLE}, or: connleak run --app 'COMMAND' --url URL")
    if options.expect_workers and not options.master_bind:
        raise Error(
            "--expect-workers requires --master-bind, the address that the workers connect to",
            f"connleak run ... --expect-workers {options.expect_workers} --master-bind 10.0.0.1:5557",
        )
    for field in FIELDS if options.target else ():
        if field.name in OF_AN_APP and getattr(options, field.name):
            raise Error(f"{field.flag} requires --app: {OF_AN_APP[field.name]}", f"{EXAMPLE} --help")


def check_plan(plan: Plan) -> None:
    """Raise Error for a plan whose parts do not fit together."""
    if not plan.app and plan.database.source != "url":
        raise Error(
            "--listen without --app needs the address of the app's database (--postgres or --mysql)",
            "connleak run --listen HOST:PORT --url URL --postgres postgresql://...",
        )
    if plan.canary and plan.probe == "off":
        raise Error("--canary requires a probe, which plants the leak", "connleak run ... --probe pool")
    if plan.sensitivity and plan.load == "none":
        raise Error(
            "--sensitivity counts requests, and this app receives none: its leak rates are per hour",
            "connleak run ... --load 60, for a longer observation",
        )
    if plan.max_idle_connections is not None and plan.probe != "off":
        raise Error(
            "--max-idle applies only with --probe off: with a probe, pool limits are read from the pools",
            f"connleak run ... --probe off --max-idle {plan.max_idle_connections}",
        )


def parse_sensitivity(text: str) -> float:
    """Return the leak rate per request of a --sensitivity value: `1/10000`, or `0.0001`."""
    number, _, per = text.partition("/")
    try:
        rate = float(number) / float(per or 1)
    except (ValueError, ZeroDivisionError):
        rate = 0.0
    if not 1e-7 <= rate <= 1:
        raise Error(
            f"--sensitivity {text}: expected a leak rate per request such as 1/1000, at least 1/10000000",
            "connleak run missing_remove:fixed --sensitivity 1/1000",
        )
    return rate


def parse_request_rate(text: str) -> float:
    """Return the requests per second of an --at-rate value: `20/s`, `1200/min`, `72000/h`, or `20`."""
    number, _, per = text.partition("/")
    seconds = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}.get(per.strip())
    try:
        rate = float(number) / (seconds or 0.0)
    except (ValueError, ZeroDivisionError):
        rate = 0.0
    if not 0 < rate < math.inf:
        raise Error(
            f"--at-rate {text}: expected a request rate such as 20/s, 1200/min or 72000/h",
            "connleak run missing_remove --at-rate 20/s",
        )
    return rate
