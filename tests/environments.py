"""Virtual environments for tests: as connleak keeps them, but a Python that is not here skips, except under CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from connleak.model import Error
from connleak.parts import environment as kept


def environment(version: str, sqlalchemy: str, *more: str) -> Path:
    """Returns the interpreter of a kept virtual environment with that SQLAlchemy, psycopg2 and more packages."""
    try:
        kept.find_python(version)
    except Error as error:
        if os.environ.get("CI"):
            pytest.fail(f"{error.message}, and CI may not skip")
        pytest.skip(f"{error.message}: {error.hint}")
    return kept.environment(version, f"sqlalchemy=={sqlalchemy}", "psycopg2-binary", *more)
