"""An app of the user's own -> its plan: how it is started, set up, told of its database, and asked."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from connleak.databases.loopback import refuse_remote
from connleak.model.errors import Error
from connleak.model.plan import Ask, Database, Phases, Plan
from connleak.plan import catalog
from connleak.plan.locustfile import ask_of
from connleak.plan.options import Options
from connleak.recording.redaction import REFERENCE, expand_references, find_secrets, referenced_secrets

DEFAULT_USERS = 16


def app_plan(options: Options) -> Plan:
    """Returns the plan for a command of the user's own."""
    example = "connleak run --app 'gunicorn app:app' --url http://127.0.0.1:8000"
    cwd = Path(options.cwd or ".").resolve()
    if not cwd.is_dir():
        raise Error(f"--cwd {options.cwd} is no folder", "connleak run --app 'COMMAND' --cwd DIR")
    try:
        words = shlex.split(options.app or "")
    except ValueError as error:
        raise Error(f"--app cannot be split into words: {error}", "connleak run --app 'gunicorn app:app'") from None
    if not words and not options.listen:
        raise Error("--app is empty", "connleak run --app 'gunicorn app:app' --url http://127.0.0.1:8000")
    refuse_assignment(words)
    if options.url:
        loopback_url(options.url, options.allow_remote)
    asked = {"--locustfile": options.locustfile, "--path": options.path, "--openapi": options.openapi}
    given = [name for name, value in asked.items() if value]
    if given and not options.url:
        raise Error(f"{given[0]} needs the address that the app answers at", f"{example} {given[0]} ...")
    if len(given) > 1:
        raise Error(f"{' and '.join(given)} both say what to ask for: one of them", f"{example} {given[0]} ...")
    made = bool(options.path or options.openapi)
    scenario = options.locustfile or ("" if made or not options.url else str(catalog.scenario("steady_load")))
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
        interpreter=interpreter_of(options.python, cwd),
        setup=tuple(checked_words(words) for words in options.setup),
        sql=existing_file(options.sql, "--sql") if options.sql else "",
        asks=tuple(asked_path(text) for text in options.path),
        openapi=document_of(options.openapi, options.allow_remote),
    )


def refuse_assignment(words: Sequence[str]) -> None:
    """Raises Error for a command that begins as only a shell's may; its value, maybe a secret, is not repeated."""
    name, assigns, _ = words[0].partition("=") if words else ("", "", "")
    if assigns and name.isidentifier():
        hint = f"connleak run --app 'gunicorn app:app' --env {name}=..."
        raise Error("--app begins with an assignment, which is a shell's", hint)


def asked_path(text: str) -> Ask:
    """Returns the request of a --path value; a variable that it names must be set, and is filled in by the load."""
    from_environment(text, "--path")
    return ask_of(text)


def interpreter_of(name: str | None, cwd: Path) -> str:
    """Returns the absolute path of --python, which may be an interpreter or a virtual environment."""
    if not name:
        return ""
    path = Path(cwd, name)
    path = path / "bin" / "python" if path.is_dir() else path
    if not path.is_file():
        raise Error(f"--python {name}: there is no such interpreter", f"ls {path.parent}")
    return str(path.absolute())  # not resolved: an environment's python is a link out of it


def checked_words(command: str) -> str:
    """Returns a command of --setup when it can be split into words."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Error(
            f"--setup {command} cannot be split into words: {error}", "connleak run ... --setup 'make db'"
        ) from None
    if not words:
        raise Error("--setup is empty", "connleak run ... --setup 'flask db upgrade'")
    return command


def document_of(name: str | None, allowed: Sequence[str]) -> str:
    """Returns where an OpenAPI document is: the absolute path of a file, or an address on this machine."""
    if not name:
        return ""
    if "://" in name:
        loopback_url(name, allowed)
        return name
    return existing_file(name, "--openapi")


def headers(words: Sequence[str]) -> dict[str, str]:
    """Returns the headers of --header 'Name: value', where ${NAME} stands for a variable of the environment."""
    return {name: from_environment(value, "--header") for name, value in typed_headers(words).items()}


def typed_headers(words: Sequence[str]) -> dict[str, str]:
    """Returns the headers of --header 'Name: value' as they were typed."""
    found = {}
    for word in words:
        name, separator, value = word.partition(":")
        if not separator or not name.strip():
            raise Error("--header takes 'Name: value'", "connleak run ... --header 'Accept: application/json'")
        found[name.strip()] = value.strip()
    return found


def from_environment(text: str, option: str) -> str:
    """Returns what was typed with the variables that it names; raises Error for one that is not set."""
    for name in REFERENCE.findall(text):
        if name not in os.environ:
            raise Error(f"{option} names ${{{name}}}, and no such variable is set", f"export {name}=...")
    return expand_references(text, os.environ)


def typed_secrets(options: Options) -> tuple[str, ...]:
    """Returns what of the options is secret: what looks like it, and what is filled in for a ${NAME}."""
    typed = [options.app or "", options.url or "", *options.setup, *options.path, *options.env, *options.header]
    names = {name for text in typed for name in REFERENCE.findall(text)}
    return tuple(sorted(find_secrets(*typed) | referenced_secrets(names, os.environ)))


def loopback_url(url: str, allowed: Sequence[str]) -> None:
    """Raises Error for an address that is none, or that is not on this machine."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:  # a port or a bracket that belongs nowhere
        usable = False
    if not usable:
        raise Error(
            f"--url {url} is no address of the form http://HOST:PORT", "connleak run ... --url http://127.0.0.1:8000"
        )
    refuse_remote([str(parts.hostname)], allowed)


def environment(words: Sequence[str]) -> dict[str, str]:
    """Returns the variables of --env NAME=VALUE, as they were typed."""
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
