"""Virtual environments for tests: as connleak keeps them, but a Python that is not here skips."""

from __future__ import annotations

from pathlib import Path

from connleak.processes import venv as kept

from support.needs_programs import need


def environment(version: str, sqlalchemy: str, *more: str) -> Path:
    """Returns the interpreter of a kept virtual environment with that SQLAlchemy, psycopg2 and more packages."""
    need(f"python{version}")
    return kept.environment(version, f"sqlalchemy=={sqlalchemy}", "psycopg2-binary", *more)
