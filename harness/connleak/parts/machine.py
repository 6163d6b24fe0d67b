"""What a run is made with: the machine and the versions, so that it can be made again, or told from another."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from importlib import metadata

import psutil

from connleak.model import Machine

PACKAGES = ("SQLAlchemy", "psycopg2-binary", "Flask", "Flask-SQLAlchemy", "gunicorn", "locust")


def machine() -> Machine:
    """Returns what this run is made with: cores, memory, system, versions."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return Machine(
        cores=os.cpu_count() or 0,
        memory=psutil.virtual_memory().total,
        system=platform.platform(),
        python=platform.python_version(),
        packages=packages,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        pid=os.getpid(),
    )
