"""The options of a run. Each is declared once, here, for the command line, connleak.toml and the Python API."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from connleak.model.addresses import DatabaseAddress
from connleak.model.outcomes import Outcome
from connleak.model.struct import Struct

Group = Literal["What is run", "Database", "Load", "Judging", "Output"]
RUNS = ("run", "check", "compare")
VERDICTS = ("run", "check")


class Option(Struct, frozen=True):
    """How an option is offered; its name, type and default are those of the field of RunOptions that it annotates."""

    group: Group
    metavar: str
    help: str
    former_name: str = ""
    """A name that the command line and connleak.toml accept, too."""
    commands: tuple[str, ...] = RUNS
    in_file: bool = True
    """Whether connleak.toml may set it."""
    is_path: bool = False
    """Whether a relative value in connleak.toml is relative to that file."""
    separator: str = ""
    """Between name and value on the command line, for an option that is a table."""


Positive = Annotated[int, msgspec.Meta(ge=1)]
NonNegative = Annotated[int, msgspec.Meta(ge=0)]
Connections = Annotated[int, msgspec.Meta(ge=10)]
Duration = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class RunOptions(Struct, frozen=True, kw_only=True):
    """A run as a user requests it; None means that the target, or connleak, chooses."""

    target: str | None = None
    """A target of the corpus, NAME[:VARIANT], instead of `app`."""
    argv: tuple[str, ...] = ()
    """The command line, without secrets, for the report's 'run again'."""

    app: Annotated[str | None, Option("What is run", "COMMAND", "Start command of your app, without a shell.")] = None
    url: Annotated[
        str | None,
        Option(
            "What is run",
            "URL",
            "Address the app listens on, such as http://127.0.0.1:8000. Without it, no load is generated.",
        ),
    ] = None
    cwd: Annotated[str | None, Option("What is run", "DIR", "Directory to start the app in.", is_path=True)] = None
    python: Annotated[
        str | None, Option("What is run", "PATH", "The app's Python interpreter or virtual environment.", is_path=True)
    ] = None
    env: Annotated[
        dict[str, str],
        Option(
            "What is run",
            "NAME=VALUE",
            "Set an environment variable of the app. VALUE may contain {url}, {sqlalchemy_url}, "
            "{async_url}, {host}, {port}, {user}, {password} and {dbname} of the database. Repeatable.",
            separator="=",
        ),
    ] = {}
    setup: Annotated[
        tuple[str, ...],
        Option("What is run", "COMMAND", "Run a command before the app starts, in the app's environment. Repeatable."),
    ] = ()
    listen: Annotated[
        str | None,
        Option(
            "What is run",
            "HOST:PORT",
            "Accept probes from other hosts at this address (connleak probe --collector). Without --app, "
            "the app runs on those hosts.",
            in_file=False,
        ),
    ] = None
    expect_apps: Annotated[
        Positive, Option("What is run", "N", "With --listen: wait for probes from this many hosts.", in_file=False)
    ] = 1
    allow_remote: Annotated[
        tuple[str, ...],
        Option(
            "What is run",
            "HOST",
            "Allow a database or an app on this host; by default only this machine is allowed. Repeatable.",
            in_file=False,
        ),
    ] = ()

    postgres: Annotated[
        str,
        Option(
            "Database",
            "SOURCE",
            "PostgreSQL to use: auto (the first that is available), embedded, system, a version (15 to "
            "18), docker[:IMAGE], or postgresql://...",
        ),
    ] = "auto"
    mysql: Annotated[
        str | None,
        Option(
            "Database",
            "SOURCE",
            "MySQL or MariaDB to use for your own app instead of PostgreSQL: system, or mysql://...",
        ),
    ] = None
    pgbouncer: Annotated[
        Literal["session", "transaction", "statement"] | None,
        Option("Database", "MODE", "Put PgBouncer in front of PostgreSQL, in this pool mode, and observe both sides."),
    ] = None
    max_connections: Annotated[
        Connections | None, Option("Database", "N", "max_connections of a server that connleak starts.")
    ] = None
    sql: Annotated[
        str | None, Option("Database", "FILE", "Run an SQL script in the database before the app starts.", is_path=True)
    ] = None

    request: Annotated[
        tuple[str, ...],
        Option(
            "Load",
            "REQUEST",
            "Add a request to the load: [METHOD] /path [BODY] [*WEIGHT]. Repeatable.",
            former_name="path",
        ),
    ] = ()
    openapi: Annotated[
        str | None,
        Option("Load", "FILE|URL", "Generate one request per operation of this OpenAPI document.", is_path=True),
    ] = None
    header: Annotated[
        dict[str, str],
        Option(
            "Load",
            "'NAME: VALUE'",
            "Add a header to every request of --request or --openapi. ${NAME} in VALUE is replaced by "
            "that environment variable. Repeatable.",
            separator=":",
        ),
    ] = {}
    locustfile: Annotated[
        str | None,
        Option(
            "Load",
            "FILE",
            "Locustfile to use as the load. Default: the target's scenario; for your own app, a steady GET /.",
            is_path=True,
        ),
    ] = None
    users: Annotated[Positive | None, Option("Load", "N", "Number of concurrent Locust users.")] = None
    cycles: Annotated[Positive, Option("Load", "N", "Number of cycles: a load, then a window without requests.")] = 3
    load: Annotated[Duration | None, Option("Load", "SECONDS", "Duration of the load in each cycle.")] = None
    drain: Annotated[
        Duration | None, Option("Load", "SECONDS", "Longest wait for sessions to become idle after each load.")
    ] = None
    seed: Annotated[int, Option("Load", "N", "Seed of the load's random choices.")] = 1
    workers: Annotated[
        NonNegative,
        Option(
            "Load",
            "N",
            "Generate the load with a Locust master and this many local workers; 0: one process.",
            in_file=False,
        ),
    ] = 0
    expect_workers: Annotated[
        NonNegative, Option("Load", "N", "Wait for this many Locust workers from other hosts, too.", in_file=False)
    ] = 0
    master_bind: Annotated[
        str | None,
        Option("Load", "HOST:PORT", "Address the Locust master listens on for external workers.", in_file=False),
    ] = None

    probe: Annotated[
        Literal["pool", "queries", "off"] | None,
        Option(
            "Judging",
            "",
            "Observe pools and drivers inside the app (pool), statements too at a higher cost (queries), "
            "or only the server (off).",
        ),
    ] = None
    gc: Annotated[
        Literal["normal", "off", "eager"],
        Option(
            "Judging",
            "",
            "The app's cyclic garbage collector: unchanged, disabled, or run before every count of checkouts.",
        ),
    ] = "normal"
    canary: Annotated[
        bool,
        Option(
            "Judging",
            "",
            "Plant a known leak in the app; the verdict is inconclusive if it is not detected.",
            commands=("run",),
            in_file=False,
        ),
    ] = False
    sensitivity: Annotated[
        str | None,
        Option(
            "Judging",
            "RATE",
            "Run until a leak rate of RATE per request (such as 1/10000) would be detected with 95 % confidence.",
            commands=VERDICTS,
        ),
    ] = None
    limit: Annotated[
        Duration,
        Option("Judging", "SECONDS", "With --sensitivity: start no further cycle after this time.", commands=VERDICTS),
    ] = 1800
    max_idle: Annotated[
        NonNegative | None,
        Option(
            "Judging",
            "N",
            "With --probe off: how many idle connections the app's pools may keep.",
            former_name="budget",
            commands=VERDICTS,
        ),
    ] = None
    at_rate: Annotated[
        str | None,
        Option(
            "Judging",
            "RATE",
            "Estimate the time until connections run out at this request rate (20/s, 1200/min).",
            commands=VERDICTS,
        ),
    ] = None
    all_cycles: Annotated[
        bool,
        Option(
            "Judging",
            "",
            "Run every cycle, even when the verdict is already certain.",
            commands=("run",),
            in_file=False,
        ),
    ] = False
    expect: Annotated[
        Outcome | None,
        Option(
            "Judging",
            "OUTCOME",
            "Exit with 0 if the verdict has this outcome, otherwise with 1.",
            commands=("run",),
            in_file=False,
        ),
    ] = None


class Secrets(Struct, frozen=True):
    """The part of a run's options that its recording must not contain."""

    database: DatabaseAddress | None = None
    env: dict[str, str] = {}
    """The values of --env."""
    headers: dict[str, str] = {}
    """The values of --header."""
    values: tuple[str, ...] = ()
    """Values of `${NAME}` references, and secrets in other options: removed from every file of the recording."""
