"""An app that is not in the corpus, unchanged, in a separate environment; databases other than the embedded one."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import psycopg2
import pytest
from connleak.databases.postgres import open_postgres
from connleak.databases.postgres.connection import connect
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Supervisor
from support.cli import connleak
from support.plans import server_plan

SHOP = """
import os, sys
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["SHOP_DATABASE"].replace("postgresql://", "postgresql+psycopg2://"), pool_size=20)
basket = []


@app.get("/orders")
def orders():
    connection = engine.connect()
    total = connection.scalar(text("SELECT count(*) FROM pg_class"))
    if len(basket) < int(os.environ["KEEP"]):
        basket.append(connection)  # kept for later
    else:
        connection.close()
    return str(total)


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]), threaded=True)
"""
LOAD = """
from locust import FastHttpUser, constant, events, task

class Customer(FastHttpUser):
    wait_time = constant(0.05)

    @task
    def orders(self):
        self.client.get("/orders")

@events.init.add_listener
def mine(environment, **kwargs):
    print("the locustfile's own listener ran before the load")
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    (folder / "load.py").write_text(LOAD)
    return folder


def run(shop: Path, out: Path, *words: str, keep: int) -> dict:
    port = free_port()
    done = connleak(
        "run", "--app", f"{sys.executable} shop.py {port}", "--cwd", str(shop), "--url", f"http://127.0.0.1:{port}",
        "--locustfile", str(shop / "load.py"), "--env", f"KEEP={keep}", "--users", "5", "--load", "1", "--cycles",
        "2", "--json", "--out", str(out), *words, timeout=120,
    )  # fmt: skip
    assert done.returncode in (0, 1, 3, 4), done.stderr
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr, "exit": done.returncode}


@pytest.fixture
def database(tmp_path: Path):
    """A server that connleak did not start: (an administrator's address, the server)."""
    plan = server_plan(max_connections=60)
    with Supervisor() as supervisor, open_postgres(supervisor, plan, None, tmp_path) as server:
        with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
            cursor.execute("CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'sesame-1234'")
        yield f"postgresql://boss:sesame-1234@127.0.0.1:{server.port}/app", server


def test_the_line_is_named_in_an_app_that_the_corpus_does_not_know(shop: Path, tmp_path: Path, database) -> None:
    _, server = database
    own = f"SHOP_DATABASE={server.url()}"
    # the app uses another database: the run stops without a verdict
    blind = run(shop, tmp_path / "blind", "--env", own, keep=5)
    assert blind["exit"] == 4
    assert f"opened no session on this server; its sockets go to 127.0.0.1:{server.port}" in blind["error"]
    assert "--env NAME='{url}'" in blind["error"]
    # at an address with few rights, the sessions are counted by application
    seen = run(shop, tmp_path / "seen", "--env", own, "--postgres", server.url(), keep=7)
    assert seen["outcome"] == "leak"
    finding = seen["findings"][0]
    assert (finding["kind"], finding["sites"][0]["file"], finding["sites"][0]["line"]) == ("held", "shop.py", 13)
    assert len(finding["backends"]) == 7
    assert "own listener ran" in (tmp_path / "seen" / "locust.log").read_text()
    for path in (tmp_path / "seen").iterdir():
        assert server.password not in path.read_text(errors="replace"), path.name


def test_at_an_address_a_target_runs_in_a_database_of_its_own_that_is_dropped(tmp_path: Path, database) -> None:
    address, server = database
    stranger = psycopg2.connect(server.url())  # the session of another client, not the app's
    done = connleak(
        "run", "missing_remove:buggy", "--postgres", address, "--json", "--out", str(tmp_path / "run"), "--load", "1",
        timeout=120,
    )  # fmt: skip
    verdict = json.loads(done.stdout)
    assert verdict["outcome"] == "leak"
    assert stranger.info.backend_pid not in verdict["findings"][0]["backends"]
    assert max(verdict["evidence"]["at_rest"]) <= 16
    with stranger.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'connleak%'")
        assert cursor.fetchone()[0] == 0
    stranger.close()
    for path in (tmp_path / "run").iterdir():
        assert "sesame-1234" not in path.read_text(errors="replace"), path.name


@pytest.mark.needs("postgresql")
def test_the_systems_postgresql_gives_the_same_verdict(tmp_path: Path) -> None:
    done = connleak(
        "run", "missing_remove:buggy", "--postgres", "system", "--json", "--out", str(tmp_path / "run"), "--load",
        "1", timeout=120,
    )  # fmt: skip
    assert json.loads(done.stdout)["outcome"] == "leak", done.stderr


def test_without_a_probe_the_servers_side_alone_finds_open_transactions_and_says_what_it_cannot_see(
    tmp_path: Path,
) -> None:
    verdicts = {}
    for variant in ("buggy", "fixed"):
        done = connleak(
            "run", f"missing_remove:{variant}", "--probe", "off", "--json", "--out", str(tmp_path / variant),
            "--load", "1",
        )  # fmt: skip
        verdicts[variant] = json.loads(done.stdout)
    assert verdicts["buggy"]["outcome"] == "leak"
    assert "Run with the probe" in verdicts["buggy"]["sentence"]
    assert verdicts["fixed"]["outcome"] == "inconclusive"
    assert "without a probe" in verdicts["fixed"]["sentence"]
