"""`connleak doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import rich_click as click
from rich.table import Table
from rich.text import Text

from connleak.cli import options
from connleak.cli.output import COULD_NOT_RUN, emit, print_rich, sweep
from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.plan import catalog
from connleak.processes import leftovers, records
from connleak.processes.accounts import server_account
from connleak.processes.cache import cache_folder

LAB = (
    "locust",
    "flask",
    "sqlalchemy",
    "gunicorn",
    "psycopg2-binary",
    "altair",
    "vl-convert-python",
)


class Row(Struct, frozen=True):
    """One thing that a run may need."""

    name: str
    ok: bool
    found: str
    get: str = ""
    needed: bool = True


@click.command()
@click.option("--clean", is_flag=True, help="First remove processes, databases and files that killed runs left.")
@options.as_json
def doctor(clean: bool, as_json: bool) -> None:
    """List what is installed, what is missing, and how to install it."""
    if clean:
        sweep()
    rows = examine()
    if as_json:
        emit({"checks": rows})
    else:
        print_rich(table(rows))
    sys.exit(0 if all(row.ok or not row.needed for row in rows) else COULD_NOT_RUN)


def examine() -> list[Row]:
    """Return a row for each thing that a run may need."""
    rows = [Row("Python", True, platform.python_version()), system()]
    for package in LAB:
        try:
            rows.append(Row(package, True, metadata.version(package)))
        except metadata.PackageNotFoundError:
            rows.append(Row(package, False, "not installed", "pip install 'connleak[lab]'"))
    rows += [postgres(), postgres_from("embedded"), postgres_from("system"), account(), cache(), targets(), left()]
    docker = shutil.which("docker")
    rows.append(
        Row("docker", bool(docker), docker or "not on PATH", "needed only for a database in a container", needed=False)
    )
    return rows


def system() -> Row:
    """Return whether this system can run apps."""
    linux = platform.system() == "Linux"
    return Row(
        "system", linux, platform.platform(), "" if linux else "a run needs Linux: use a container or a virtual machine"
    )


def postgres() -> Row:
    """Return which PostgreSQL `--postgres auto` uses."""
    from connleak.databases.postgres.sources import first_working_source

    try:
        source, notes = first_working_source(fetch=False)
    except Error as error:
        return Row("PostgreSQL", False, error.message, error.hint)
    return Row("PostgreSQL", True, "; ".join((f"--postgres auto uses {source}", *notes)))


def postgres_from(source: str) -> Row:
    """Return whether PostgreSQL's programs are available from a source."""
    from connleak.databases.postgres.binaries import find_programs, version_of

    name = f"PostgreSQL ({source})"
    try:
        folder = find_programs(source, fetch=False)
        return Row(name, True, f"{version_of(folder)} in {folder}", needed=False)
    except Error as error:
        return Row(name, False, error.message, error.hint, needed=False)


def account() -> Row:
    """Return the account that database servers run under."""
    try:
        found = server_account()
    except Error as error:
        return Row("server account", False, error.message, error.hint)
    return Row("server account", True, found.name if found else "the current user")


def cache() -> Row:
    """Return the cache folder, and whether it is writable."""
    try:
        folder = cache_folder()
    except Error as error:
        return Row("cache folder", False, error.message, error.hint)
    writable = os.access(folder, os.W_OK)
    return Row("cache folder", writable, str(folder), "" if writable else "CONNLEAK_CACHE=DIR connleak ...")


def left() -> Row:
    """Return whether killed runs left anything behind, and whether runs can record what they create."""
    name = "leftovers"
    if records.state_folder() is None:
        problem = "no state folder is writable: what a killed run leaves behind cannot be removed"
        return Row(name, False, problem, "CONNLEAK_STATE=DIR connleak ...", needed=False)
    found = list(leftovers.describe_leftovers())
    return Row(name, not found, "\n".join(found) or "none", "connleak doctor --clean", needed=False)


def targets() -> Row:
    """Return how many targets are installed."""
    found = catalog.targets()
    place = Path(catalog.corpus()) / "targets"
    return Row("targets", bool(found), f"{len(found)} in {place}", "" if found else "reinstall connleak")


def table(rows: list[Row]) -> Table:
    """Return the rows for a terminal."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(4):
        shown.add_column(overflow="fold")
    for row in rows:
        mark = Text("ok", "green") if row.ok else Text("missing", "red" if row.needed else "yellow")
        shown.add_row(mark, row.name, row.found, "" if row.ok else row.get)
    return shown
