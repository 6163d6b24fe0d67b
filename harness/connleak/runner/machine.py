"""What a run is made with: the machine and the versions, so that it can be made again, or told from another."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from functools import cache
from importlib import metadata

import psutil

from connleak.model.recording import Machine

PACKAGES = ("SQLAlchemy", "psycopg2-binary", "Flask", "Flask-SQLAlchemy", "gunicorn", "locust")


def machine() -> Machine:
    """Returns what this run is made with: cores, memory, system, versions."""
    return Machine(
        cores=os.cpu_count() or 0,
        memory=psutil.virtual_memory().total,
        system=platform.platform(),
        python=platform.python_version(),
        packages=versions(),
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        pid=os.getpid(),
    )


@cache
def versions() -> dict[str, str]:
    """Returns the versions of what matters; looked up once, for each look keeps a list of all that is installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
