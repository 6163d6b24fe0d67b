"""What `pip install connleak` brings along: nothing that lies in the place of a driver of the app's."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

DRIVERS = ("psycopg2/", "asyncpg/", "pg8000/", "pymysql/", "MySQLdb/", "sqlalchemy/")


def needed_by(name: str, extras: frozenset[str] = frozenset(), seen: set[str] | None = None) -> Iterator[str]:
    """Yields a distribution and all that it needs here, without optional parts that nobody asked for."""
    seen = set() if seen is None else seen
    if name in seen:
        return
    seen.add(name)
    yield name
    for line in metadata.requires(name) or ():
        found = Requirement(line)
        if found.marker is None or any(found.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield from needed_by(found.name, frozenset(found.extras), seen)


def test_the_base_install_overwrites_no_driver_of_the_apps() -> None:
    needed = list(needed_by("connleak"))
    assert {"psycopg", "psycopg-binary", "click"} <= set(needed)
    written = {f"{name}: {path}" for name in needed for path in metadata.files(name) or () if overwrites(str(path))}
    assert written == set()


def overwrites(path: str) -> bool:
    return path.startswith(DRIVERS)
