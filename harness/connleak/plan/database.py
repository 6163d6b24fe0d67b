"""The options of group Database -> which database a run uses, and its address."""

from __future__ import annotations

import msgspec

from connleak.model.addresses import DatabaseAddress
from connleak.model.errors import Error
from connleak.model.plan import Database
from connleak.plan.addresses import parse_mysql, parse_postgres
from connleak.plan.options import RunOptions

STARTED = ("auto", "embedded", "system")
"""Values of --postgres for a server that connleak starts from its programs; so is a version."""
URL = "url"
"""The source of a database at an address."""


def database_plan(options: RunOptions, default: Database) -> tuple[Database, DatabaseAddress | None]:
    """Return the database of a run, and its address if it is not one that connleak starts."""
    check_compatible(options, default.kind)
    kind, source, address = default.kind, options.postgres, None
    if kind == "mysql" or options.mysql:
        kind, source = "mysql", mysql_source(options.mysql or "system")
        if source == URL:
            address = parse_mysql(options.mysql or "", options.allow_remote)
    else:
        source = postgres_source(options.postgres)
        if source == URL:
            address = parse_postgres(options.postgres, options.allow_remote)
    database = msgspec.structs.replace(
        default,
        kind="pgbouncer" if options.pgbouncer else kind,
        source=source,
        max_connections=options.max_connections or default.max_connections,
        settings={"pool_mode": options.pgbouncer} if options.pgbouncer else default.settings,
    )
    return database, address


def check_compatible(options: RunOptions, kind: str) -> None:
    """Raise Error for database options that exclude each other; `kind` is the target's database."""
    if options.mysql and kind != "mysql" and not options.app and not options.listen:
        raise Error(f"--mysql {options.mysql}: the database of this target is {kind}", "connleak run tcp_mysql")
    started = options.postgres in STARTED or options.postgres.isdigit()
    if options.pgbouncer and not (options.app and started):
        raise Error(
            "--pgbouncer requires --app and a PostgreSQL that connleak starts from its programs",
            f"connleak run --app 'COMMAND' --pgbouncer {options.pgbouncer} --postgres auto",
        )
    if options.mysql and (options.pgbouncer or options.postgres != "auto"):
        raise Error("--mysql and --postgres exclude each other", "connleak run --app 'COMMAND' --mysql system")


def mysql_source(text: str) -> str:
    """Return the source that a --mysql value names."""
    if text == "system":
        return text
    if "://" in text:
        return URL
    raise Error(
        f"--mysql {text}: expected system, or an address mysql://user:password@HOST:PORT/dbname",
        "connleak run --app 'COMMAND' --mysql system",
    )


def postgres_source(text: str) -> str:
    """Return the source that a --postgres value names."""
    if text in STARTED or text.isdigit():
        return text
    if text == "docker" or (text.startswith("docker:") and "://" not in text):
        return text
    if "://" in text:
        return URL
    raise Error(
        f"--postgres {text}: expected auto, embedded, system, docker[:IMAGE], a version such as 16, "
        "or an address postgresql://...",
        "connleak run missing_remove --postgres auto",
    )
