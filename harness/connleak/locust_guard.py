"""Run `python -m locust ...` as `python -m connleak.locust_guard ...`, in a process that is kept on loopback.

The guard is installed before Locust and the locustfile are imported. The process is started with -P, since the working
folder may have a module with the name of one that this file imports; the folder is added to sys.path afterwards.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

from connleak.processes import hosts

ALLOWED = "CONNLEAK_ALLOWED"
"""The variable with the hosts that may be loaded, a JSON list."""

if __name__ == "__main__":
    import gevent.socket  # Locust replaces Python's own socket module with this one

    hosts.install(json.loads(os.environ.get(ALLOWED, "[]"))).wrap(gevent.socket.socket)
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_module("locust", run_name="__main__", alter_sys=True)
