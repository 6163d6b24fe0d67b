"""The user's own app -> its plan: how it is started, prepared and loaded."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from connleak.model.errors import Error
from connleak.model.plan import Database, Phases, Plan, RequestSpec
from connleak.plan import catalog
from connleak.plan.addresses import check_loopback_url
from connleak.plan.locustfile import parse_request
from connleak.plan.options import RunOptions
from connleak.recording.redaction import REFERENCE, expand_references, find_secrets, referenced_secrets

DEFAULT_USERS = 16
EXAMPLE = "connleak run --app 'gunicorn app:app' --url http://127.0.0.1:8000"


def app_plan(options: RunOptions) -> Plan:
    """Return the plan for the user's own app."""
    cwd = Path(options.cwd or ".").resolve()
    if not cwd.is_dir():
        raise Error(f"--cwd {options.cwd} is not a directory", "connleak run --app 'COMMAND' --cwd DIR")
    words = command_words(options)
    if options.url:
        check_loopback_url(options.url, "--url", options.allow_remote)
    scenario = scenario_of(options)
    return Plan(
        kind="app" if words else "remote",
        target="app",
        variant=Path(words[0]).name if words else "elsewhere",
        app=options.app or "",
        cwd=str(cwd),
        url=(options.url or "").rstrip("/"),
        scenario=existing_file(scenario, "--locustfile") if scenario else "",
        users=DEFAULT_USERS,
        phases=Phases(),
        cycles=options.cycles,
        database=Database(),
        load="locust" if options.url else "none",
        interpreter=interpreter_path(options.python),
        setup=tuple(checked_command(command) for command in options.setup),
        sql=existing_file(options.sql, "--sql") if options.sql else "",
        requests=tuple(request_spec(text) for text in options.request),
        openapi=openapi_source(options.openapi, options.allow_remote),
    )


def command_words(options: RunOptions) -> list[str]:
    """Return the words of --app; none if the app runs on other hosts."""
    try:
        words = shlex.split(options.app or "")
    except ValueError as error:
        raise Error(f"--app cannot be split into words: {error}", "connleak run --app 'gunicorn app:app'") from None
    if not words and not options.listen:
        raise Error("--app is empty", EXAMPLE)
    refuse_assignment(words)
    return words


def scenario_of(options: RunOptions) -> str:
    """Return the locustfile of a run; empty if the load is generated, or if there is none."""
    sources = {"--locustfile": options.locustfile, "--request": options.request, "--openapi": options.openapi}
    given = [name for name, value in sources.items() if value]
    if given and not options.url:
        raise Error(f"{given[0]} requires --url, the address that the app listens on", f"{EXAMPLE} {given[0]} ...")
    if len(given) > 1:
        raise Error(f"{' and '.join(given)} exclude each other: each defines the load", f"{EXAMPLE} {given[0]} ...")
    if options.locustfile or given or not options.url:
        return options.locustfile or ""
    return str(catalog.scenario("steady_load"))


def refuse_assignment(words: Sequence[str]) -> None:
    """Raise Error for a command that starts with a shell's assignment; its value may be secret and is not shown."""
    name, assigns, _ = words[0].partition("=") if words else ("", "", "")
    if assigns and name.isidentifier():
        hint = f"connleak run --app 'gunicorn app:app' --env {name}=..."
        raise Error("--app begins with an assignment, which needs a shell; --app is run without one", hint)


def request_spec(text: str) -> RequestSpec:
    """Return the request of a --request value; every variable that it references must be set."""
    fill_in(text, "--request")
    return parse_request(text)


def interpreter_path(name: str | None) -> str:
    """Return the absolute path of --python, an interpreter or a virtual environment."""
    if not name:
        return ""
    path = Path(name)
    path = path / "bin" / "python" if path.is_dir() else path
    if not path.is_file():
        raise Error(f"--python {name}: there is no such interpreter", f"ls {path.parent}")
    return str(path.absolute())  # not resolved: the python of an environment is a link


def checked_command(command: str) -> str:
    """Return a command of --setup; raise Error if it cannot be split into words."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Error(
            f"--setup {command} cannot be split into words: {error}", "connleak run ... --setup 'make db'"
        ) from None
    if not words:
        raise Error("--setup is empty", "connleak run ... --setup 'flask db upgrade'")
    return command


def openapi_source(name: str | None, allowed: Sequence[str]) -> str:
    """Return where an OpenAPI document is: the absolute path of a file, or a URL on this machine."""
    if not name:
        return ""
    if "://" in name:
        check_loopback_url(name, "--openapi", allowed)
        return name
    return existing_file(name, "--openapi")


def filled_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with their references to environment variables replaced."""
    return {name: fill_in(value, "--header") for name, value in headers.items()}


def fill_in(text: str, option: str) -> str:
    """Return a value with every ${NAME} replaced; raise Error for a variable that is not set."""
    for name in REFERENCE.findall(text):
        if name not in os.environ:
            raise Error(f"{option} references ${{{name}}}, and that variable is not set", f"export {name}=...")
    return expand_references(text, os.environ)


def secret_values_of(options: RunOptions) -> tuple[str, ...]:
    """Return the secrets in the options: values that look like one, and those of ${NAME} references."""
    pairs = [f"{name}={value}" for name, value in options.env.items()]
    pairs += [f"{name}: {value}" for name, value in options.header.items()]
    typed = [options.app or "", options.url or "", options.openapi or "", *options.setup, *options.request, *pairs]
    names = {name for text in typed for name in REFERENCE.findall(text)}
    return tuple(sorted(find_secrets(*typed) | referenced_secrets(names, os.environ)))


def existing_file(name: str, option: str) -> str:
    """Return the absolute path of a file; raise Error if it does not exist."""
    path = Path(name).resolve()
    if not path.is_file():
        raise Error(f"{option} {name}: there is no such file", f"ls {path.parent}")
    return str(path)
