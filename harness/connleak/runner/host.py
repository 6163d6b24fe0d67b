"""The host and the versions that a session runs with, by which recordings are compared."""

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


def host() -> Machine:
    """Return the cores, memory and system of this host, and the versions of the packages that matter."""
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
    """Return {package: version}; looked up once, since each look-up keeps a list of everything installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
