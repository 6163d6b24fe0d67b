"""Virtual environments as connleak keeps them; a missing Python skips the test."""

from __future__ import annotations

from pathlib import Path

from connleak.processes import venv as kept

from support.needs_programs import need


def environment(version: str, sqlalchemy: str, *more: str) -> Path:
    """Return the interpreter of a kept virtual environment with that SQLAlchemy, psycopg2 and more packages."""
    need(f"python{version}")
    return kept.environment(version, f"sqlalchemy=={sqlalchemy}", "psycopg2-binary", *more)
