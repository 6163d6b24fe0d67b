"""A PostgreSQL outside connleak that can be restarted, filled, put on a small disk, and given another clock."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from connleak.databases.postgres.binaries import find_programs, reachable_programs, template_data
from connleak.databases.postgres.connection import connect
from connleak.processes.accounts import server_account
from connleak.processes.ports import free_port

RULES = "local all all trust\nhost all connleak 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


class Postgres:
    """A server on loopback that can be stopped and started again; a context manager."""

    def __init__(self, size: str = "", env: dict[str, str] | None = None, **settings: str) -> None:
        self.account = server_account()
        assert self.account is not None, "the nemeses need root: they kill, mount and cut"
        self.programs = reachable_programs(find_programs("system"), self.account)
        self.home = Path(tempfile.mkdtemp(prefix="nemesis-", dir="/dev/shm"))
        self.size = size
        self.port = free_port()
        self.settings = {"fsync": "off", "dynamic_shared_memory_type": "mmap", **settings}
        self.env = env or {}
        self.process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"postgresql://connleak@127.0.0.1:{self.port}/app"

    def __enter__(self) -> Postgres:
        assert self.account is not None
        if self.size:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", str(self.home)], check=True)
        subprocess.run(
            ["cp", "-a", str(template_data(self.programs, self.account)), str(self.home / "data")], check=True
        )
        os.chown(self.home, self.account.uid, self.account.gid)
        (self.home / "data" / "pg_hba.conf").write_text(RULES)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)
        if self.size:
            subprocess.run(["umount", "-l", str(self.home)], check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self) -> None:
        """Start the server; return once the superuser can connect."""
        account = self.account
        assert account is not None
        user = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        argv = [str(self.programs / "postgres"), "-D", str(self.home / "data"), "-h", "127.0.0.1"]
        argv += ["-p", str(self.port), "-k", str(self.home)]
        for name, value in self.settings.items():
            argv += ["-c", f"{name}={value}"]
        log = (self.home.parent / f"{self.home.name}.log").open("a")
        self.process = subprocess.Popen(
            [*user, *argv], stdout=log, stderr=log, cwd="/", env={**os.environ, **self.env}, text=True
        )
        log.close()
        Path(log.name).unlink()
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(psycopg.OperationalError), contextlib.closing(self.connect()):
                return
            assert time.monotonic() < deadline and self.process.poll() is None, "the server did not start"
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop the server: SIGINT closes its sessions, SIGQUIT drops them, SIGKILL is immediate."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + 10
        while orphans := self.others():  # its children end when they notice
            for pid in orphans if time.monotonic() > deadline - 8 else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def others(self) -> list[int]:
        """Return the pids of its children whose working folder is its data folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if str(path.readlink()) == str(self.home / "data"):
                    found.append(int(path.parent.name))
        return found

    def connect(self) -> Any:
        """Return a superuser's connection in autocommit."""
        return connect({"host": str(self.home), "port": self.port, "user": "connleak"}, "app")
