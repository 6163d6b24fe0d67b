"""Live servers that are watched for a while: `record.py` records them for the cases `watch NAME`."""

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
    """Yield a server of its own."""
    with Supervisor() as supervisor, open_database(supervisor, shop_plan(kind), "", folder) as server:
        yield server


@contextlib.contextmanager
def sessions(url: str, count: int) -> Iterator[list[Any]]:
    """Yield idle sessions in autocommit, as a pool at rest has them."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(contextlib.closing(psycopg2.connect(url))) for _ in range(count)]
        for session in found:
            session.autocommit = True
        yield found


@contextlib.contextmanager
def beside(step: Callable[[], object], every: float) -> Iterator[None]:
    """Take a step again and again, beside what is done here."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(every):
            with contextlib.suppress(psycopg2.Error):
                step()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def opening(url: str, every: float, most: int = 1000) -> Iterator[None]:
    """Open another idle session again and again, up to so many, as a pool does that fills."""
    with contextlib.ExitStack() as stack:
        count = iter(range(most))

        def step() -> None:
            if next(count, None) is not None:
                stack.enter_context(contextlib.closing(psycopg2.connect(url)))

        with beside(step, every):
            yield


def started(url: str, folder: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a watch that leaves its recording in `folder`/watch."""
    argv = command("watch", url, *QUICK, *words, "--json", "--out", str(folder / "watch"))
    environment = {**os.environ, **(env or {})}
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, env=environment)


def watch(url: str, folder: Path, *words: str) -> Path:
    """Watch a server to the end; return the recording's folder."""
    started(url, folder, *(words or FOUR_WINDOWS)).wait(90)
    return folder / "watch"


@contextlib.contextmanager
def probed(server: Server, folder: Path, *words: str) -> Iterator[tuple[Shop, subprocess.Popen[str]]]:
    """Yield a shop whose probe tells a watch of it, and the watch, which is waited for at the end."""
    port = free_port()
    watcher = started(server.url(), folder, *(words or FOUR_WINDOWS), "--listen", f"127.0.0.1:{port}", env=SECRET)
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
    """A shop that is asked all the time, and gives everything back."""
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
    """A batch job: always in a transaction, each of them half a window long."""
    with server_in(folder) as server, sessions(server.url(), 1) as [session]:
        session.autocommit = False
        cursor = session.cursor()
        with beside(lambda: (cursor.execute("SELECT pg_sleep(0.9)"), session.commit()), 0.01):
            return watch(server.url(), folder, *FOUR_WINDOWS, "--budget", "1")


def report(folder: Path) -> Path:
    """A statement that works all through the windows, in a transaction: slow, and not forgotten."""
    with server_in(folder) as server, sessions(server.url(), 1) as [session]:
        session.autocommit = False
        with beside(lambda: session.cursor().execute("SELECT pg_sleep(12)"), 0.01):
            time.sleep(0.5)
            return watch(server.url(), folder, *FOUR_WINDOWS, "--budget", "1")


def fills(folder: Path) -> Path:
    with server_in(folder) as server, opening(server.url(), 1.0):
        return watch(server.url(), folder)


def budget_kept(folder: Path) -> Path:
    with server_in(folder) as server, opening(server.url(), 1.0, most=5):
        return watch(server.url(), folder, *FOUR_WINDOWS, "--budget", "5")


def budget_broken(folder: Path) -> Path:
    with server_in(folder) as server, opening(server.url(), 0.5):
        return watch(server.url(), folder, "--for", "14.5", "--budget", "2")


def full(folder: Path) -> Path:
    """All connections that an ordinary role may have are open, and idle."""
    with server_in(folder) as server, sessions(server.url(), server.max_connections - server.reserved - 1):
        with contextlib.suppress(psycopg2.Error), contextlib.closing(psycopg2.connect(server.url())):
            pass
        return watch(server.url(), folder, *FOUR_WINDOWS, "--budget", "40")


def lock(folder: Path) -> Path:
    """An idle session has an advisory lock."""
    with server_in(folder) as server, sessions(server.url(), 2) as [session, _]:
        session.cursor().execute("SELECT pg_advisory_lock(7)")
        return watch(server.url(), folder)


def short(folder: Path) -> Path:
    with server_in(folder) as server, sessions(server.url(), 3):
        return watch(server.url(), folder, "--for", "5")


def interrupted(folder: Path) -> Path:
    with server_in(folder) as server, sessions(server.url(), 3):
        watcher = started(server.url(), folder, "--budget", "3")
        time.sleep(10)
        watcher.send_signal(signal.SIGINT)
        watcher.wait(30)
        return folder / "watch"


def states_hidden(folder: Path) -> Path:
    """By a role that may not see what others do."""
    with server_in(folder) as server, sessions(server.url(), 2):
        with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
            cursor.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        url = f"postgresql://guest:guest@127.0.0.1:{server.port}/{server.dbname}"
        return watch(url, folder, *FOUR_WINDOWS, "--budget", "2")


def reads_refused(folder: Path) -> Path:
    """In the midst of it the server ends the watch's session, and lets its role in no more for two windows."""
    with server_in(folder) as server, sessions(server.url(), 2):
        with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
            cursor.execute("CREATE ROLE looker LOGIN PASSWORD 'looker' IN ROLE pg_monitor")
            url = f"postgresql://looker:looker@127.0.0.1:{server.port}/{server.dbname}"
            watcher = started(url, folder, "--for", "12", "--budget", "2")
            time.sleep(5)
            cursor.execute("ALTER ROLE looker NOLOGIN")
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'looker'")
            time.sleep(4)
            cursor.execute("ALTER ROLE looker LOGIN")
            watcher.wait(60)
        return folder / "watch"


def restarted(folder: Path) -> Path:
    """The server is restarted in the midst of it; an app connects again."""
    with Postgres() as server:
        with sessions(server.address, 2):
            watcher = started(server.address, folder, "--for", "12", "--budget", "2")
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
    """Sessions of others lie on the same server, one of them in a transaction."""
    with server_in(folder) as server, sessions(server.url(), 3) as others:
        others[0].autocommit = False
        others[0].cursor().execute("SELECT 1")
        with probed(server, folder) as (shop, _):
            shop.visit("/ok", 0.1)
    return folder / "watch"


def probe_leaker_ends(folder: Path) -> Path:
    """The app that leaks ends, with all that it held; the watch goes on for three windows."""
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
    """The same without a probe."""
    with server_in(folder) as server:
        watcher = started(server.url(), folder, "--for", "15")
        with opened(Shop(folder, server, [])) as shop:
            shop.visit("/keep", 0.5)
            time.sleep(6)
        watcher.wait(60)
    return folder / "watch"


@contextlib.contextmanager
def mariadb(folder: Path, granted: bool) -> Iterator[Server]:
    """Yield a MariaDB on which somebody has an open transaction, with or without leave to see it."""
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
        return watch(server.url("mysql"), folder, *FOUR_WINDOWS, "--budget", "2")


WATCHES: dict[str, Callable[[Path], Path]] = {
    made.__name__: made
    for made in (
        *(empty, quiet, busy, leak, until_leak, renewed, report, fills, budget_kept, budget_broken, full, lock),
        *(short, interrupted, states_hidden, reads_refused, restarted, leaker_ends),
        *(probe_clean, probe_leak, probe_strangers, probe_leaker_ends, mysql_held, mysql_hidden),
    )
}
