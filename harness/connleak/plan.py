"""Options and target.toml -> Plan: every validation, and its message, is here."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from connleak import __version__, catalog
from connleak.model import OUTCOMES, Database, Error, Phases, Plan, Struct
from connleak.parts.process import free_port

DEFAULT_USERS = 16


class Options(Struct, frozen=True, kw_only=True):
    """What the command line said; None is what it did not."""

    target: str | None = None
    app: str | None = None
    url: str | None = None
    locustfile: str | None = None
    cwd: str | None = None
    env: tuple[str, ...] = ()
    postgres: str = "embedded"
    allow_remote: bool = False
    max_connections: int | None = None
    users: int | None = None
    cycles: int = 3
    load: float | None = None
    drain: float | None = None
    seed: int = 1
    probe: str | None = None
    expect: str | None = None
    at_rate: str | None = None
    gc: str = "normal"
    canary: bool = False
    sensitivity: str | None = None
    limit: float = 1800.0
    budget: int | None = None
    early_stop: bool = True
    argv: tuple[str, ...] = ()


class Private(Struct, frozen=True):
    """What a run needs and a recording must not hold: the database's address, and the values of --env."""

    address: str = ""
    env: dict[str, str] = {}


def resolve(options: Options) -> tuple[Plan, Private]:
    """Returns the plan, and what is too private to be written into it."""
    validate(options)
    source, address = database_source(options.postgres)
    plan = target_plan(options) if options.target else app_plan(options)
    phases = plan.phases
    if options.load is not None:
        phases = msgspec.structs.replace(phases, load=options.load)
    if options.drain is not None:
        phases = msgspec.structs.replace(phases, drain=options.drain)
    limit = options.max_connections or plan.database.max_connections
    database = msgspec.structs.replace(plan.database, source=source, max_connections=limit)
    env = environment(options.env)
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
        allow_remote=options.allow_remote,
        argv=options.argv,
        tool_version=__version__,
        env={name: "***" for name in env},
    )
    validate_made(made)
    return made, Private(address, env)


def validate(options: Options) -> None:
    """Raises Error for an option whose value makes no sense."""
    example = "connleak run missing_remove"
    if bool(options.target) == bool(options.app):
        raise Error(
            "run takes a target or --app, one of them", f"{example}, or: connleak run --app 'COMMAND' --url URL"
        )
    for name, seconds in (("--load", options.load), ("--drain", options.drain), ("--limit", options.limit)):
        if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
            raise Error(f"{name} is {seconds:g}; it is a number of seconds above 0", f"{example} {name} 2")
    for name, count, least in (
        ("--cycles", options.cycles, 1),
        ("--users", options.users, 1),
        ("--max-connections", options.max_connections, 10),
        ("--budget", options.budget, 0),
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


def database_source(text: str) -> tuple[str, str]:
    """Returns (source, address) of a --postgres value."""
    if text in ("embedded", "system") or text.isdigit():
        return text, ""
    if "://" in text:
        return "url", text
    raise Error(
        f"--postgres {text}: it takes embedded, system, a version such as 16, or an address postgresql://...",
        "connleak run missing_remove --postgres embedded",
    )


def target_plan(options: Options) -> Plan:
    """Returns the plan for a target of the corpus."""
    target, variant = catalog.find(options.target or "")
    port = free_port()
    command = variant.serve.format(host="127.0.0.1", port=port, module=variant.module)
    locustfile = options.locustfile or str(catalog.scenario(variant.scenario))
    schema = Path(target.folder, "schema.sql")
    return Plan(
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


def app_plan(options: Options) -> Plan:
    """Returns the plan for a command of the user's own."""
    cwd = Path(options.cwd or ".").resolve()
    if not cwd.is_dir():
        raise Error(f"--cwd {options.cwd} is no folder", "connleak run --app 'COMMAND' --cwd DIR")
    try:
        words = shlex.split(options.app or "")
    except ValueError as error:
        raise Error(f"--app cannot be split into words: {error}", "connleak run --app 'gunicorn app:app'") from None
    if not words:
        raise Error("--app is empty", "connleak run --app 'gunicorn app:app' --url http://127.0.0.1:8000")
    if options.url:
        loopback_url(options.url, options.allow_remote)
    load = "locust" if options.url else "none"
    if options.locustfile and not options.url:
        raise Error(
            "--locustfile needs the address that the app answers at",
            "connleak run --app ... --url http://127.0.0.1:8000 --locustfile FILE",
        )
    scenario = options.locustfile or (str(catalog.scenario("steady_load")) if options.url else "")
    return Plan(
        target="app",
        variant=Path(words[0]).name,
        app=options.app or "",
        cwd=str(cwd),
        url=(options.url or "").rstrip("/"),
        scenario=existing_file(scenario, "--locustfile") if scenario else "",
        users=DEFAULT_USERS,
        phases=Phases(),
        cycles=options.cycles,
        database=Database(),
        load=load,
    )


def loopback_url(url: str, allow_remote: bool) -> None:
    """Raises Error for an address that is none, or that is not on this machine."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme != "http" or not parts.hostname or port == -1:
        raise Error(
            f"--url {url} is no address of the form http://HOST:PORT", "connleak run ... --url http://127.0.0.1:8000"
        )
    if parts.hostname not in ("127.0.0.1", "localhost", "::1") and not allow_remote:
        raise Error(
            f"{parts.hostname} is not on this machine; load against hosts of others is refused",
            "connleak run ... --allow-remote, if it is yours to load",
        )


def environment(words: Sequence[str]) -> dict[str, str]:
    """Returns the variables of --env NAME=VALUE."""
    found = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise Error(f"--env {word}: it takes NAME=VALUE", "connleak run ... --env DEBUG=0")
        found[name] = value
    return found


def existing_file(name: str, option: str) -> str:
    """Returns the absolute path of a file that is there; raises Error otherwise."""
    path = Path(name).resolve()
    if not path.is_file():
        raise Error(f"{option} {name}: there is no such file", f"ls {path.parent}")
    return str(path)
