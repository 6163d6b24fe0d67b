"""The plug-in in stock Locust: the tab in a browser, exports, exit code; a master with workers records once."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from connleak.databases.registry import open_database
from connleak.databases.server import Server
from connleak.model.recording import NoteCode
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Supervisor
from connleak.recording import reader
from support.cli import command
from support.paths import HARNESS
from support.poll import wait_for_port
from support.shop import LINE, SECRET, Shop, opened, shop_plan

PLUGIN = HARNESS / "connleak" / "locust_plugin.py"
CHROMIUM = shutil.which("chromium")
LOAD = """
from locust import FastHttpUser, constant, task


class Customer(FastHttpUser):
    wait_time = constant(0.05)

    @task(20)
    def ok(self):
        self.client.get("/ok")

    @task(1)
    def keep(self):
        self.client.get("/keep")
"""
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Supervisor() as supervisor, open_database(supervisor, shop_plan(), None, tmp_path) as opened_server:
        yield opened_server


class Locust:
    """A stock Locust with the plug-in, which listens for the shop's probe."""

    def __init__(self, folder: Path, server: Server, *words: str, by_import: bool = False) -> None:
        self.folder = folder
        self.out = folder / "recording"
        self.listen = free_port()
        file = folder / "mine.py"
        file.write_text(("import connleak.locust_plugin\n" if by_import else "") + LOAD)
        argv = [
            sys.executable, "-m", "locust", "-f", str(file) if by_import else f"{file},{PLUGIN}",
            "--connleak-listen", f"127.0.0.1:{self.listen}", "--connleak-out", str(self.out),
            "--connleak-allow-remote", "nowhere", "-u", "4", "-r", "4", *words,
        ]  # fmt: skip
        env = {**os.environ, **SECRET, "CONNLEAK_DB": server.url(), "LOCUST_SKIP_UPDATE_CHECK": "1"}
        self.log = folder / "locust.log"
        self.argv, self.env = argv, env

    def start(self, host: str) -> subprocess.Popen:
        with self.log.open("w") as log:
            return subprocess.Popen([*self.argv, "--host", host], cwd=self.folder, env=self.env, stdout=log, stderr=log)


def shop_for(locust: Locust, server: Server, folder: Path, port: int) -> Shop:
    """The app starts after Locust, which has the collector."""
    before = command("probe", "--collector", f"127.0.0.1:{locust.listen}", "--name", "web1", "--")
    return Shop(folder, server, before, SECRET, port)


def dom(url: str) -> str:
    assert CHROMIUM is not None
    return subprocess.run([CHROMIUM, *FLAGS, url], capture_output=True, text=True, timeout=60, check=True).stdout


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def requests_counted(folder: Path) -> int:
    """Return how many requests Locust has counted."""
    return next(int(row["Request Count"]) for row in table(folder / "stats_stats.csv") if row["Name"] == "Aggregated")


def drawn(page: str) -> str:
    """Return the area of the open transactions as the chart draws it."""
    found = re.search(r'<path d="([^"]+)"[^>]*data-state="idle in transaction"', page)
    assert found, "the chart shows no open transaction"
    return found[1]


@pytest.mark.needs("chromium")
def test_the_tab_shows_the_chart_moving_and_who_has_what(server: Server, tmp_path: Path) -> None:
    web = free_port()
    locust = Locust(tmp_path, server, "--autostart", "--autoquit", "1", "-t", "30s", "--web-host", "127.0.0.1",
                    "--web-port", str(web))  # fmt: skip
    port = free_port()
    child = locust.start(f"http://127.0.0.1:{port}")
    wait_for_port(locust.listen)
    try:
        with opened(shop_for(locust, server, tmp_path, port)):
            wait_for_port(web)
            time.sleep(4)
            first = dom(f"http://127.0.0.1:{web}/?tab=connections")
            assert 'id="connleak-chart"' in first and "Connections" in first
            assert f"shop.py:{LINE} in keep" in first, "the table names the line"
            assert "web1:" in first
            later = dom(f"http://127.0.0.1:{web}/?tab=connections")
            assert drawn(later) != drawn(first), "the chart moves"
            assert "idle in transaction" in dom(f"http://127.0.0.1:{web}/connleak/"), "a page of its own has it, too"
            assert 'id="connleak-chart"' not in dom(f"http://127.0.0.1:{web}/?tab=charts"), (
                "other tabs are as they were"
            )
            table = urllib.request.urlopen(f"http://127.0.0.1:{web}/connleak/connections.csv").read().decode()
            assert table.startswith("t,phase,rate,idle in transaction")
    finally:
        child.terminate()
        child.wait(60)
    assert reader.read(locust.out).phases, "SIGTERM leaves a readable recording"


def test_headless_it_exports_and_ends_with_the_verdicts_exit_code(server: Server, tmp_path: Path) -> None:
    """By import in the locustfile, against an app that keeps connections."""
    locust = Locust(tmp_path, server, "--headless", "-t", "7s", "--csv", "stats", "--html", "page.html",
                    "--json-file", "told", by_import=True)  # fmt: skip
    port = free_port()
    child = locust.start(f"http://127.0.0.1:{port}")
    wait_for_port(locust.listen)
    with opened(shop_for(locust, server, tmp_path, port)):
        code = child.wait(90)
    output = locust.log.read_text()
    assert code == 1, output
    assert "LEAK: " in output and f"shop.py:{LINE} in keep" in output
    verdict = json.loads((locust.out / "verdict.json").read_text())
    assert verdict["findings"][0]["kind"] == "held"
    rows = table(tmp_path / "stats_connections.csv")
    assert max(int(row["idle in transaction"]) for row in rows) > 2 and max(float(row["rate"]) for row in rows) > 10
    assert json.loads((tmp_path / "told_connections.json").read_text())["outcome"] == "leak"
    page = (tmp_path / "page.html").read_text()
    assert '<section id="connleak"' in page and "<svg" in page.rpartition('<section id="connleak"')[2]
    read = reader.read(locust.out)
    counted = requests_counted(tmp_path)
    assert len(read.requests) == counted, "each request is in the recording"


def test_master_and_workers_record_once_and_all_requests(server: Server, tmp_path: Path) -> None:
    port, master = free_port(), free_port()
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", str(master), "--master-port", str(master)]
    locust = Locust(tmp_path, server, "--headless", "-t", "7s", "--processes", "2", "--csv", "stats", *bind)
    child = locust.start(f"http://127.0.0.1:{port}")
    wait_for_port(locust.listen)
    with opened(shop_for(locust, server, tmp_path, port)):
        code = child.wait(90)
    output = locust.log.read_text()
    assert code == 1 and output.count("connleak: LEAK") == 1, output
    read = reader.read(locust.out)
    assert not any(note.code == NoteCode.REQUESTS_ESTIMATED for note in read.notes)
    counted = requests_counted(tmp_path)
    assert counted > 100
    assert abs(len(read.requests) - counted) <= 0.02 * counted
    [load] = [phase for phase in read.phases if phase.name == "load"]
    inside = sum(load.begin - 0.3 <= request.t <= (load.end or 0) + 0.3 for request in read.requests)
    assert inside >= 0.99 * len(read.requests), "the workers' requests bear the recording's time"


def test_a_clean_app_leaves_locusts_exit_code_alone(server: Server, tmp_path: Path) -> None:
    port = free_port()
    locust = Locust(tmp_path, server, "--headless", "-t", "4s", "--exit-code-on-error", "0", "Quiet")
    (tmp_path / "mine.py").write_text(LOAD.replace("Customer", "Quiet").replace("@task(1)", "@task(0)"))
    child = locust.start(f"http://127.0.0.1:{port}")
    wait_for_port(locust.listen)
    with opened(shop_for(locust, server, tmp_path, port)):
        assert child.wait(90) == 0, locust.log.read_text()
    assert "LEAK" not in locust.log.read_text()


def test_without_its_options_it_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import connleak.locust_plugin\n" + LOAD)
    argv = [sys.executable, "-m", "locust", "-f", "mine.py", "--headless", "-t", "1s", "-H", "http://127.0.0.1:9"]
    done = subprocess.run(
        [*argv, "--exit-code-on-error", "0"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "connleak" not in done.stdout


def test_a_database_that_is_not_there_stops_it_before_the_load(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import connleak.locust_plugin\n" + LOAD)
    argv = [sys.executable, "-m", "locust", "-f", "mine.py", "--headless", "-t", "1s", "-H", "http://127.0.0.1:9"]
    done = subprocess.run(
        [*argv, "--connleak-db", f"postgresql://u:hidden@127.0.0.1:{free_port()}/db"], cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "the database refused" in done.stderr and "hidden" not in done.stderr + done.stdout
