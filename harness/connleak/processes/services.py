"""What a target needs beside its database: a Redis of this run's own, on loopback."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from connleak.databases.accounts import write_private
from connleak.model.errors import Error
from connleak.processes.supervisor import Keeper, free_port, last_lines, wait_until_ready


@contextlib.contextmanager
def open_services(keeper: Keeper, names: Sequence[str], logs: Path) -> Iterator[dict[str, str]]:
    """Starts the named services; yields the variables that tell the app and the load where they are."""
    found: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            found |= stack.enter_context({"redis": redis}[name](keeper, logs))
        yield found


def find_service(name: str) -> str:
    """Returns the path of a service's program; raises Error with what to install."""
    program = shutil.which(f"{name}-server")
    if program is None:
        raise Error(f"no {name} server is installed on this system", f"apt-get install {name}-server", exit_code=4)
    return program


@contextlib.contextmanager
def redis(keeper: Keeper, logs: Path) -> Iterator[dict[str, str]]:
    """Starts redis-server with a password of this run's own and nothing kept on disk; yields REDIS_URL."""
    program = find_service("redis")
    port, password = free_port(), secrets.token_urlsafe(12)
    settings = ["bind 127.0.0.1", f"port {port}", f"requirepass {password}", 'save ""', "appendonly no"]
    configuration = keeper.scratch / "redis.conf"  # not the command line, which everybody may read
    write_private(configuration, "\n".join([*settings, f"dir {keeper.scratch}"]) + "\n")
    log = logs / "redis.log"
    argv = [program, str(configuration)]
    child = keeper.start("Redis", argv, cwd=keeper.scratch, env={"PATH": os.defpath, "LC_ALL": "C"}, log=log)

    def ready() -> bool:
        return any("eady to accept connections" in line for line in last_lines(log))

    wait_until_ready(keeper, child, ready, timeout=15)
    keeper.need(child)
    try:
        yield {"REDIS_URL": f"redis://:{password}@127.0.0.1:{port}/0"}
    finally:
        keeper.stop(child)
