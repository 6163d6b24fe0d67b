"""Watches of live servers, which `record.py` records for the cases `watch NAME`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pymysql
from connleak.databases.postgres.connection import connect
from connleak.databases.registry import open_database
from connleak.databases.server import Server
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Supervisor
from support.cli import command
from support.nemeses.server import Postgres
from support.poll import wait_for_port
from support.shop import SECRET, Shop, opened, shop_plan

QUICK = ("--window", "2", "--every", "0.2")
FOUR_WINDOWS = ("--for", "9")


@contextlib.contextmanager
def server_in(folder: Path, kind: str = "postgresql") -> Iterator[Server]:
    """Yield a new server."""
    with Supervisor() as supervisor, open_database(supervisor, shop_plan(kind), None, folder) as server:
        yield server


@contextlib.contextmanager
def sessions(url: str, count: int) -> Iterator[list[Any]]:
    """Yield idle sessions in autocommit mode, like those of an idle pool."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(contextlib.closing(psycopg2.connect(url))) for _ in range(count)]
        for session in found:
            session.autocommit = True
        yield found


@contextlib.contextmanager
def repeated(step: Callable[[], object], every: float) -> Iterator[None]:
    """Run a step repeatedly in another thread."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every):
            with contextlib.suppress(psycopg2.Error):
                step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def opening(url: str, every: float, limit: int = 1000) -> Iterator[None]:
    """Open another idle session at an interval, up to a limit, like a pool that fills."""
    with contextlib.ExitStack() as stack:
        count = iter(range(limit))

        def step() -> None:
            if next(count, None) is not None:
                stack.enter_context(contextlib.closing(psycopg2.connect(url)))

        with repeated(step, every):
            yield


def started(url: str, folder: Path, *options: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a watch with its recording in `folder`/watch."""
    argv = command("watch", url, *QUICK, *options, "--json", "--out", str(folder / "watch"))
    environment = {**os.environ, **(env or {})}
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, env=environment)


def watch(url: str, folder: Path, *options: str) -> Path:
    """Watch a server to the end; return the recording's folder."""
    started(url, folder, *(options or FOUR_WINDOWS)).wait(90)
    return folder / "watch"


@contextlib.contextmanager
def probed(server: Server, folder: Path, *options: str) -> Iterator[tuple[Shop, subprocess.Popen[bytes]]]:
    """Yield a shop whose probe reports to a watch, and the watch; wait for the watch at the end."""
    port = free_port()
    watcher = started(server.url(), folder, *(options or FOUR_WINDOWS), "--listen", f"127.0.0.1:{port}", env=SECRET)
    wait_for_port(port)
    before = command("probe", "--collector", f"127.0.0.1:{port}", "--name", "web1", "--")
    with opened(Shop(folder, server, before, SECRET)) as shop:
        yield shop, watcher
        watcher.wait(90)


def empty(folder: Path) -> Path:
    with server_in(folder) as server:
        return watch(server.url(), folder)


def quiet(folder: Path) -> Path:
    with server_in(folder) as server, sessions(server.url(), 3):
        return watch(server.url(), folder)


def busy(folder: Path) -> Path:
    """Watch a shop under constant requests that returns every connection."""
    with server_in(folder) as server, opened(Shop(folder, server, [])) as shop:
        for _ in range(3):
            shop.visit("/ok", 0.02)
        time.sleep(1.5)
        return watch(server.url(), folder)


def leak(folder: Path) -> Path:
    with server_in(folder) as server, opened(Shop(folder, server, [])) as shop:
        shop.visit("/keep", 0.7)
        return watch(server.url(), folder)


def until_leak(folder: Path) -> Path:
    with server_in(folder) as server, opened(Shop(folder, server, [])) as shop:
        shop.get("/keep")
        return watch(server.url(), folder, "--for", "30", "--until-leak")


def renewed(folder: Path) -> Path:
    """Watch a batch job that is always in a transaction, each half a window long."""
    with server_in(folder) as server, sessions(server.url(), 1) as [session]:
        session.autocommit = False
        cursor = session.cursor()
        with repeated(lambda: (cursor.execute("SELECT pg_sleep(0.9)"), session.commit()), 0.01):
            return watch(server.url(), folder, *FOUR_WINDOWS, "--max-idle", "1")


def report(folder: Path) -> Path:
    """Watch a statement that runs throughout the windows, in a transaction."""
    with server_in(folder) as server, sessions(server.url(), 1) as [session]:
        session.autocommit = False
        with repeated(lambda: session.cursor().execute("SELECT pg_sleep(12)"), 0.01):
            time.sleep(0.5)
            return watch(server.url(), folder, *FOUR_WINDOWS, "--max-idle", "1")


def fills(folder: Path) -> Path:
    with server_in(folder) as server, opening(server.url(), 1.0):
        return watch(server.url(), folder)


def max_idle_kept(folder: Path) -> Path:
    with server_in(folder) as server, opening(server.url(), 1.0, limit=5):
        return watch(server.url(), folder, *FOUR_WINDOWS, "--max-idle", "5")


def max_idle_exceeded(folder: Path) -> Path:
    with server_in(folder) as server, opening(server.url(), 0.5):
        return watch(server.url(), folder, "--for", "14.5", "--max-idle", "2")


def full(folder: Path) -> Path:
    """Watch a server on which idle sessions have all connections of an ordinary role."""
    with server_in(folder) as server, sessions(server.url(), server.max_connections - server.reserved - 1):
        with contextlib.suppress(psycopg2.Error), contextlib.closing(psycopg2.connect(server.url())):
            pass
        return watch(server.url(), folder, *FOUR_WINDOWS, "--max-idle", "40")


def lock(folder: Path) -> Path:
    """Watch an idle session with an advisory lock."""
    with server_in(folder) as server, sessions(server.url(), 2) as [session, _]:
        session.cursor().execute("SELECT pg_advisory_lock(7)")
        return watch(server.url(), folder)


def short(folder: Path) -> Path:
    with server_in(folder) as server, sessions(server.url(), 3):
        return watch(server.url(), folder, "--for", "5")


def interrupted(folder: Path) -> Path:
    with server_in(folder) as server, sessions(server.url(), 3):
        watcher = started(server.url(), folder, "--max-idle", "3")
        time.sleep(10)
        watcher.send_signal(signal.SIGINT)
        watcher.wait(30)
        return folder / "watch"


def states_hidden(folder: Path) -> Path:
    """Watch with a role that may not read the state of others' sessions."""
    with server_in(folder) as server, sessions(server.url(), 2):
        with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
            cursor.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        url = f"postgresql://guest:guest@127.0.0.1:{server.port}/{server.dbname}"
        return watch(url, folder, *FOUR_WINDOWS, "--max-idle", "2")


def reads_refused(folder: Path) -> Path:
    """Let the server end the session of a watch, and reject its role for two windows."""
    with server_in(folder) as server, sessions(server.url(), 2):
        with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
            cursor.execute("CREATE ROLE monitor LOGIN PASSWORD 'monitor' IN ROLE pg_monitor")
            url = f"postgresql://monitor:monitor@127.0.0.1:{server.port}/{server.dbname}"
            watcher = started(url, folder, "--for", "12", "--max-idle", "2")
            time.sleep(5)
            cursor.execute("ALTER ROLE monitor NOLOGIN")
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'")
            time.sleep(4)
            cursor.execute("ALTER ROLE monitor LOGIN")
            watcher.wait(60)
        return folder / "watch"


def restarted(folder: Path) -> Path:
    """Restart the server during a watch, and connect again."""
    with Postgres() as server:
        with sessions(server.address, 2):
            watcher = started(server.address, folder, "--for", "12", "--max-idle", "2")
            time.sleep(6)
            server.stop()
        server.start()
        with sessions(server.address, 2):
            watcher.wait(60)
    return folder / "watch"


def probe_clean(folder: Path) -> Path:
    with server_in(folder) as server, probed(server, folder) as (shop, _):
        for _ in range(3):
            shop.visit("/ok", 0.05)
    return folder / "watch"


def probe_leak(folder: Path) -> Path:
    with server_in(folder) as server, probed(server, folder) as (shop, _):
        shop.visit("/ok", 0.1)
        shop.visit("/keep", 0.9)
    return folder / "watch"


def probe_strangers(folder: Path) -> Path:
    """Watch an app beside idle sessions of other clients, one of them in a transaction."""
    with server_in(folder) as server, sessions(server.url(), 3) as others:
        others[0].autocommit = False
        others[0].cursor().execute("SELECT 1")
        with probed(server, folder) as (shop, _):
            shop.visit("/ok", 0.1)
    return folder / "watch"


def probe_leaker_ends(folder: Path) -> Path:
    """Watch a leaking app that ends, and its server for three more windows."""
    with server_in(folder) as server:
        port = free_port()
        watcher = started(server.url(), folder, "--for", "15", "--listen", f"127.0.0.1:{port}", env=SECRET)
        wait_for_port(port)
        before = command("probe", "--collector", f"127.0.0.1:{port}", "--name", "web1", "--")
        with opened(Shop(folder, server, before, SECRET)) as shop:
            shop.visit("/keep", 0.5)
            time.sleep(6)
        watcher.wait(60)
    return folder / "watch"


def leaker_ends(folder: Path) -> Path:
    """Watch a leaking app that ends, without a probe."""
    with server_in(folder) as server:
        watcher = started(server.url(), folder, "--for", "15")
        with opened(Shop(folder, server, [])) as shop:
            shop.visit("/keep", 0.5)
            time.sleep(6)
        watcher.wait(60)
    return folder / "watch"


@contextlib.contextmanager
def mariadb(folder: Path, granted: bool) -> Iterator[Server]:
    """Yield a MariaDB with an open transaction, which the watch's account may read if `granted`."""
    with server_in(folder, "mysql") as server:
        account = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
        with contextlib.closing(pymysql.connect(**account, database=server.dbname)) as app:
            app.cursor().execute("CREATE TABLE goods (name TEXT)")
            app.cursor().execute("INSERT INTO goods VALUES ('bread')")
            if granted:
                with contextlib.closing(pymysql.connect(**server.admin)) as root:
                    root.cursor().execute("GRANT PROCESS ON *.* TO 'app'@'127.0.0.1'")
            yield server


def mysql_held(folder: Path) -> Path:
    with mariadb(folder, granted=True) as server:
        return watch(server.url("mysql"), folder)


def mysql_hidden(folder: Path) -> Path:
    with mariadb(folder, granted=False) as server:
        return watch(server.url("mysql"), folder, *FOUR_WINDOWS, "--max-idle", "2")


WATCHES: dict[str, Callable[[Path], Path]] = {
    made.__name__: made
    for made in (
        *(empty, quiet, busy, leak, until_leak, renewed, report, fills, max_idle_kept, max_idle_exceeded, full, lock),
        *(short, interrupted, states_hidden, reads_refused, restarted, leaker_ends),
        *(probe_clean, probe_leak, probe_strangers, probe_leaker_ends, mysql_held, mysql_hidden),
    )
}
