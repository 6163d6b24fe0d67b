"""The options that commands share: one name and one meaning each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

FORMATS = ("text", "json", "md", "junit", "sarif")

OF_A_RUN = (
    click.option("--app", help="Start command of an app of your own, instead of a target (no shell)."),
    click.option("--url", help="Where that app answers, such as http://127.0.0.1:8000; without it no load is made."),
    click.option("--locustfile", metavar="FILE", help="The load; default: the target's scenario, or steady GET /."),
    click.option("--cwd", metavar="DIR", help="Folder to start the app in."),
    click.option("--python", metavar="PATH", help="The app's Python, or its virtual environment."),
    click.option(
        "--env",
        multiple=True,
        metavar="NAME=VALUE",
        help="A variable for the app; in VALUE {url}, {sqlalchemy_url}, {async_url}, {host}, {port}, {user}, "
        "{password} and {dbname} are the database's.",
    ),
    click.option(
        "--setup", multiple=True, metavar="COMMAND", help="Run before the app, in its environment; may be repeated."
    ),
    click.option("--sql", metavar="FILE", help="SQL that the database is filled with first."),
    click.option(
        "--path",
        multiple=True,
        metavar="ASK",
        help="What to ask for, instead of a locustfile: [METHOD] /path [BODY] [*WEIGHT]; may be repeated.",
    ),
    click.option("--openapi", metavar="FILE|URL", help="An OpenAPI document: ask for all that it names."),
    click.option(
        "--header",
        multiple=True,
        metavar="'NAME: VALUE'",
        help="A header of every request of --path or --openapi; ${NAME} stands for a variable.",
    ),
    click.option(
        "--postgres",
        default="auto",
        show_default=True,
        metavar="SOURCE",
        help="Where the database comes from: auto (the first that works), embedded, system, a version (15 to 18), "
        "docker[:IMAGE], or postgresql://...",
    ),
    click.option(
        "--mysql",
        metavar="SOURCE",
        help="MySQL or MariaDB instead, for an app of your own: system, or an address mysql://...",
    ),
    click.option(
        "--pgbouncer",
        type=click.Choice(["session", "transaction", "statement"]),
        help="Put PgBouncer before the PostgreSQL, in this pool mode; both of its sides are watched.",
    ),
    click.option(
        "--allow-remote",
        multiple=True,
        metavar="HOST",
        help="Allow a database or an app on this host, which is not this machine; may be repeated.",
    ),
    click.option("--max-connections", type=int, help="max_connections of a server that we start."),
    click.option(
        "--listen",
        metavar="HOST:PORT",
        help="Take in probes of other hosts there (connleak probe --collector); without --app the app runs elsewhere.",
    ),
    click.option(
        "--expect-apps",
        type=int,
        default=1,
        show_default=True,
        help="With --listen: begin when so many have come.",
    ),
    click.option("--workers", type=int, default=0, help="Make the load with so many Locust workers beside a master."),
    click.option("--expect-workers", type=int, default=0, help="Wait for so many workers of other hosts, too."),
    click.option("--master-bind", metavar="HOST:PORT", help="Where those find the master: locust --worker there."),
    click.option("--users", type=int, help="Locust users at once."),
    click.option("--cycles", type=int, default=3, show_default=True, help="How often to load and let rest."),
    click.option("--load", type=float, metavar="SECONDS", help="How long each load lasts."),
    click.option("--drain", type=float, metavar="SECONDS", help="How long at most to wait for rest after a load."),
    click.option("--seed", type=int, default=1, show_default=True, help="Seed of the load's random choices."),
    click.option(
        "--probe",
        type=click.Choice(["pool", "queries", "off"]),
        help="Watch the app's pools and drivers, its statements too (dearer), or the server alone.",
    ),
    click.option(
        "--gc",
        type=click.Choice(["normal", "off", "eager"]),
        default="normal",
        show_default=True,
        help="The app's cyclic garbage collector: as usual, off, or run before every count.",
    ),
)
"""What is run, where its database comes from, and how it is loaded and watched."""


def of_a_run(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a run to a command, in their order."""
    for option in reversed(OF_A_RUN):
        command = option(command)
    return command


def format_of_a_verdict(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --format, and --json as its short form."""
    return formats(FORMATS, "Of what stands on stdout; md is the draft of an issue. Progress goes to stderr.")(command)


def format_of_a_comparison(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --format, and --json as its short form."""
    return formats(("text", "json", "md"), "Of what stands on stdout. Progress goes to stderr.")(command)


def formats(names: tuple[str, ...], words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--json", "form", flag_value="json", help="Short for --format json.")(command)
        kinds = click.Choice(names)
        return click.option("--format", "form", type=kinds, default="text", show_default=True, help=words)(command)

    return add
