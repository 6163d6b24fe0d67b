"""`python -m connleak.locust_guard ...` is `python -m locust ...` in a process that is kept on loopback.

Before Locust and the locustfile are imported, so that nothing of theirs comes first. It is started with -P: in the
working folder a module may have the name of one that this file imports. Locustfiles find that folder afterwards.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

from connleak.processes import hosts

ALLOWED = "CONNLEAK_ALLOWED"
"""The variable that names the hosts that may be loaded, a JSON list."""

if __name__ == "__main__":
    import gevent.socket  # Locust puts this in the place of Python's own

    hosts.install(json.loads(os.environ.get(ALLOWED, "[]"))).wrap(gevent.socket.socket)
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_module("locust", run_name="__main__", alter_sys=True)
