"""Watching running programs: a live server, an app that was started separately, a command with the probe alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from connleak.databases.postgres.connection import connect
from connleak.databases.registry import open_database
from connleak.databases.server import Server
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Supervisor
from support.cli import command
from support.poll import wait_for_port, wait_until
from support.shop import LINE, SECRET, Shop, opened, shop_plan

QUICK = ["--window", "2", "--every", "0.2"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Supervisor() as supervisor, open_database(supervisor, shop_plan(), None, tmp_path) as opened:
        yield opened


def watch(folder: Path, *words: str, env: dict[str, str] | None = None) -> tuple[int, dict, str]:
    """Return (exit code, verdict, stderr) of a watch."""
    argv = command("watch", *words, "--json", "--out", str(folder / "watch"))
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=90, check=False, env={**os.environ, **(env or {})}
    )
    assert done.stdout or done.returncode in (2, 4), done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def listening(server: Server, folder: Path, *words: str) -> tuple[subprocess.Popen[str], int]:
    """Return a watch that accepts probes, and its port; its verdict is on stdout."""
    port = free_port()
    argv = command("watch", server.url(), *QUICK, *words, "--json", "--out", str(folder / "watch"))
    argv += ["--listen", f"127.0.0.1:{port}"]
    watcher = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, **SECRET})
    wait_for_port(port)
    return watcher, port


def test_a_live_app_that_gives_everything_back_is_clean(server: Server, tmp_path: Path) -> None:
    """While its requests continue: a checkout that is outstanding at a moment is not held."""
    watcher, port = listening(server, tmp_path, "--for", "9")
    probed = Shop(tmp_path, server, command("probe", "--collector", f"127.0.0.1:{port}", "--"), SECRET)
    with opened(probed) as shop:
        for _ in range(3):
            shop.visit("/ok", 0.01)
        verdict = json.loads(watcher.communicate(timeout=60)[0])
    assert (watcher.returncode, verdict["outcome"]) == (0, "clean"), verdict["sentence"]
    assert "No connection was held throughout a window of 2 s" in verdict["sentence"]


def test_the_line_of_an_app_that_somebody_else_runs(server: Server, tmp_path: Path) -> None:
    watcher, port = listening(server, tmp_path, "--for", "40", "--until-leak")
    before = command("probe", "--collector", f"127.0.0.1:{port}", "--name", "web1", "--")
    with opened(Shop(tmp_path, server, before, SECRET)) as shop:
        shop.visit("/ok", 0.02)
        shop.visit("/keep", 0.7)
        verdict = json.loads(watcher.communicate(timeout=60)[0])
        assert watcher.returncode == 1, verdict
        shop.get("/ok")  # the watch has ended, the app continues
    found = verdict["findings"][0]
    assert (found["kind"], found["sites"][0]["file"], found["sites"][0]["line"]) == ("held", "shop.py", LINE)
    assert {row["host"] for row in verdict["holders"]} == {"web1"}
    assert found["backends"], "joined with the server's own sessions"


def test_without_a_probe_an_open_transaction_is_still_seen(server: Server, tmp_path: Path) -> None:
    with opened(Shop(tmp_path, server, [])) as shop:
        shop.get("/keep")
        code, verdict, _ = watch(tmp_path, server.url(), *QUICK, "--for", "30", "--until-leak")
    assert (code, verdict["outcome"]) == (1, "leak")
    assert "stayed in the same transaction" in verdict["sentence"]


def test_without_a_probe_a_pool_that_fills_is_not_called_a_leak(server: Server, tmp_path: Path) -> None:
    stop = threading.Event()

    def fill() -> None:  # another idle session every second, as a pool opens them: 1, 2, 3, ...
        with contextlib.ExitStack() as stack:
            while not stop.wait(1.0):
                stack.enter_context(contextlib.closing(psycopg2.connect(server.url())))

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        code, verdict, _ = watch(tmp_path, server.url(), *QUICK, "--for", "8.6")
    finally:
        stop.set()
        thread.join()
    assert (code, verdict["outcome"]) == (3, "inconclusive")
    assert "--max-idle" in verdict["sentence"]


def test_with_a_budget_a_climb_beyond_it_is_a_leak(server: Server, tmp_path: Path) -> None:
    stop = threading.Event()

    def climb() -> None:
        with contextlib.ExitStack() as stack:
            while not stop.wait(0.5):
                stack.enter_context(contextlib.closing(psycopg2.connect(server.url())))

    thread = threading.Thread(target=climb)
    thread.start()
    try:
        code, verdict, _ = watch(tmp_path, server.url(), *QUICK, "--for", "14.5", "--max-idle", "2")
    finally:
        stop.set()
        thread.join()
    assert (code, verdict["findings"][0]["kind"]) == (1, "growth"), verdict["sentence"]


def test_a_role_without_rights_is_told_what_it_cannot_see(server: Server, tmp_path: Path) -> None:
    with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
        cursor.execute("CREATE ROLE guest LOGIN PASSWORD 'secret'")
    held = psycopg2.connect(server.url())
    address = f"postgresql://guest:secret@127.0.0.1:{server.port}/{server.dbname}"
    code, verdict, _ = watch(tmp_path, address, *QUICK, "--for", "7")
    held.close()
    assert (code, verdict["outcome"]) == (3, "inconclusive")
    assert "GRANT pg_monitor" in json.dumps(verdict)


def test_it_changes_nothing_and_says_only_what_reads(server: Server, tmp_path: Path) -> None:
    with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET log_statement = 'all'")
        cursor.execute("SELECT pg_reload_conf()")
        time.sleep(0.3)
    code, _, _ = watch(tmp_path, server.url(), *QUICK, "--for", "3")
    assert code == 3
    log = (tmp_path / "postgres.log").read_text()
    statements = [part.strip() for line in log.splitlines() if "connleak" not in line.partition("LOG:")[0].lower()
            for part in [line.partition("statement: ")[2]] if part]  # fmt: skip
    assert statements, "the server logged the statements"
    strange = [words for words in statements if not words.upper().startswith(("SELECT", "SET ", "WITH", "--"))]
    assert strange == []


@pytest.mark.needs("mariadb")
def test_mariadb_is_watched_too(tmp_path: Path) -> None:
    import pymysql

    with Supervisor() as supervisor, open_database(supervisor, shop_plan("mysql"), None, tmp_path) as server:
        app = pymysql.connect(
            host=server.host, port=server.port, user=server.user, password=server.password, database=server.dbname
        )
        app.cursor().execute("SELECT 1")  # and no commit: InnoDB begins at the first table
        app.cursor().execute("CREATE TABLE goods (name TEXT)")
        app.cursor().execute("INSERT INTO goods VALUES ('bread')")
        blind, told, _ = watch(tmp_path / "1", server.url("mysql"), *QUICK, "--for", "8.5")
        with contextlib.closing(pymysql.connect(**server.admin)) as root:
            root.cursor().execute("GRANT PROCESS ON *.* TO 'app'@'127.0.0.1'")
        code, verdict, _ = watch(tmp_path / "2", server.url("mysql"), *QUICK, "--for", "30", "--until-leak")
        app.close()
    assert (blind, told["outcome"]) == (3, "inconclusive")
    assert "GRANT PROCESS" in json.dumps(told)
    assert (code, verdict["findings"][0]["kind"]) == (1, "held"), verdict["sentence"]


def test_interrupted_it_judges_what_there_is(server: Server, tmp_path: Path) -> None:
    argv = command("watch", server.url(), *QUICK, "--json", "--out", str(tmp_path / "watch"))
    watcher = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    time.sleep(9)
    watcher.send_signal(signal.SIGINT)
    verdict = json.loads(watcher.communicate(timeout=30)[0])
    assert watcher.returncode == 3
    assert "the app opened no session" in verdict["sentence"]


def test_a_watch_refuses_a_host_that_was_not_named(tmp_path: Path) -> None:
    code, _, output = watch(tmp_path, "postgresql://u:secret@192.0.2.7/shop")
    assert code == 2
    assert "--allow-remote 192.0.2.7" in output and "secret" not in output


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"CONNLEAK_SECRET": "another secret than theirs"}, "is the secret the same?"),
        ({}, "CONNLEAK_SECRET is not set"),
    ],
)
def test_a_relay_with_another_secret_is_sent_away(server: Server, tmp_path: Path, env: dict, words: str) -> None:
    watcher, port = listening(server, tmp_path, "--for", "4")
    plain = {name: value for name, value in os.environ.items() if name != "CONNLEAK_SECRET"}
    argv = command("probe", "--collector", f"127.0.0.1:{port}", "--", "true")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env={**plain, **env})
    watcher.communicate(timeout=30)
    assert done.returncode in (2, 4)
    assert words in done.stderr


def test_a_command_with_the_probe_alone(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "probe"
    shop = Shop(tmp_path, server, command("probe", "--out", str(out), "--"))
    with opened(shop):
        shop.get("/keep")
        shop.get("/ok")
        asked = subprocess.run(command("holders", str(out), "--json"), capture_output=True, text=True, check=True)
        [row] = json.loads(asked.stdout)["holders"]
        assert (row["site"]["file"], row["site"]["function"]) == ("shop.py", "keep")
        before = (out / "snapshots.jsonl").stat().st_size
        shop.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: (out / "snapshots.jsonl").stat().st_size != before, "a table is written")
    assert not (out / "events.jsonl").exists(), "an app that runs for weeks writes no events"


def test_a_commands_exit_code_and_signals_are_its_own(tmp_path: Path) -> None:
    argv = command("probe", "--out", str(tmp_path / "a"), "--", sys.executable, "-c", "import sys; sys.exit(7)")
    assert subprocess.run(argv, check=False, timeout=30, stderr=subprocess.DEVNULL).returncode == 7
    script = (
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    argv = command("probe", "--out", str(tmp_path / "b"), "--", sys.executable, "-c", script)
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 9
    child.stdout.close()


def test_a_live_database_is_diagnosed(server: Server, tmp_path: Path) -> None:
    with opened(Shop(tmp_path, server, [])) as shop:
        shop.get("/keep")
        argv = command("diagnose", server.url(), "--for", "8", "--json")
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    told = json.loads(done.stdout)
    assert told["outcome"] == "leak", done.stderr
    assert told["looks_like"]
