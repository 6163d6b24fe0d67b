"""The sources of a PostgreSQL server for `--postgres auto`: the first one that works on this machine is used."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from connleak.databases.postgres.binaries import NotFetchedError, find_programs
from connleak.databases.postgres.docker import engine
from connleak.model.errors import Error
from connleak.model.plan import Plan

PROGRAMS = ("embedded", "system", "17", "16")
"""Sources with a server's programs, in the order in which they are tried; a version may come from a wheel."""
ALL = (*PROGRAMS, "docker")


def with_source(plan: Plan, candidates: Sequence[str] = ALL) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan with a working source in place of `auto`, and notes on that choice."""
    if plan.database.source != "auto":
        return plan, ()
    source, notes = first_working_source(candidates)
    database = msgspec.structs.replace(plan.database, source=source)
    return msgspec.structs.replace(plan, database=database), notes


def first_working_source(candidates: Sequence[str] = ALL, *, fetch: bool = True) -> tuple[str, tuple[str, ...]]:
    """Return the first source that works on this machine, and a note on those that failed; raise Error if none works.

    Without `fetch` nothing is installed, and a wheel that is not in the cache counts as working.
    """
    failed: list[str] = []
    for source in candidates:
        try:
            check_source(source, fetch=fetch)
        except NotFetchedError as error:
            failed.append(f"{source}: {error.message}")
        except Error as error:
            failed.append(f"{source}: {error.message}")
            continue
        return source, (f"--postgres {source} was chosen; {'; '.join(failed)}",) if failed else ()
    tried = "".join(f"\n    {line}" for line in failed)
    raise Error(f"no PostgreSQL works on this machine. Tried:{tried}", "apt-get install postgresql", exit_code=4)


def check_source(source: str, *, fetch: bool) -> None:
    """Raise Error unless the source's server runs on this machine."""
    if source == "docker":
        engine().close()
    else:
        find_programs(source, fetch=fetch)
