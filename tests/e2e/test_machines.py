"""Several machines, as network namespaces with different clocks: two load hosts, two app hosts, one database."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from connleak.databases.postgres.binaries import find_programs, reachable_programs, template_data
from connleak.databases.postgres.connection import connect
from connleak.model.recording import HOST, NoteCode
from connleak.processes.accounts import server_account
from connleak.recording import reader
from support.cli import command
from support.needs_programs import need
from support.poll import wait_until
from support.shop import LINE, SECRET, SHOP

BRIDGE = "connleak0"
NET = "10.231.7"
HERE = f"{NET}.1"
ADDRESS = {"db": f"{NET}.2", "app1": f"{NET}.3", "app2": f"{NET}.4", "load1": f"{NET}.5", "load2": f"{NET}.6"}
LOAD = f"""
import random
from locust import FastHttpUser, constant, task


class Customer(FastHttpUser):
    wait_time = constant(0.1)

    @task(30)
    def ok(self):
        self.client.get("http://" + random.choice(["{ADDRESS["app1"]}", "{ADDRESS["app2"]}"]) + ":8000/ok", name="/ok")

    @task(1)
    def keep(self):
        self.client.get("http://{ADDRESS["app2"]}:8000/keep", name="/keep")
"""
AHEAD = {"app1": 5000, "app2": 700_000}
"""Seconds that the monotonic clocks of the app hosts are ahead of this process's."""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def space(host: str) -> str:
    return f"connleak-{host}"


def firewall(change: str) -> None:
    """Let the hosts reach each other where Docker has closed the bridges."""
    if shutil.which("iptables"):
        rule = ["FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"]
        subprocess.run(["iptables", change, *rule], check=False, capture_output=True)


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """Five hosts on a bridge."""
    need("postgresql", "namespaces", "root")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    try:
        run("ip", "addr", "add", f"{HERE}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for number, (host, address) in enumerate(ADDRESS.items()):
            run("ip", "netns", "add", space(host))
            run("ip", "link", "add", f"clv{number}", "type", "veth", "peer", "name", "eth0", "netns", space(host))
            run("ip", "link", "set", f"clv{number}", "master", BRIDGE, "up")
            run("ip", "-n", space(host), "addr", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", space(host), "link", "set", "eth0", "up")
            run("ip", "-n", space(host), "link", "set", "lo", "up")
        firewall("-I")
        yield
    finally:
        firewall("-D")
        for host in ADDRESS:
            subprocess.run(["ip", "netns", "del", space(host)], check=False, capture_output=True)
        run("ip", "link", "del", BRIDGE)


def on(host: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", space(host), *words]


@pytest.fixture
def database(network: None, tmp_path: Path) -> Iterator[str]:
    """The address of a PostgreSQL on the database's host."""
    account = server_account()
    assert account is not None, "namespaces take root"
    programs = reachable_programs(find_programs("system"), account)
    home = Path("/dev/shm") / f"connleak-machines-{os.getpid()}"
    home.mkdir()
    run("cp", "-a", str(template_data(programs, account)), str(home / "data"))
    os.chown(home, account.uid, account.gid)
    (home / "data" / "pg_hba.conf").write_text(f"local all all trust\nhost all all {NET}.0/24 scram-sha-256\n")
    argv = [
        str(programs / "postgres"),
        "-D",
        str(home / "data"),
        "-h",
        ADDRESS["db"],
        "-k",
        str(home),
        "-c",
        "fsync=off",
    ]
    user = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    with (tmp_path / "postgres.log").open("w") as log:
        server = subprocess.Popen(on("db", *user, *argv), stdout=log, stderr=log, cwd="/")
    try:
        admin = {"host": str(home), "user": "connleak"}
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(psycopg.OperationalError), contextlib.closing(connect(admin, "app")) as opened:
                opened.cursor().execute("CREATE ROLE shop LOGIN PASSWORD 'secret' IN ROLE pg_monitor")
                break
            assert time.monotonic() < deadline, (tmp_path / "postgres.log").read_text()
            time.sleep(0.1)
        yield f"postgresql://shop:secret@{ADDRESS['db']}:5432/app"
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(home)


@contextlib.contextmanager
def started(*argvs: list[str], folder: Path, env: dict[str, str]) -> Iterator[None]:
    logs = [(folder / f"host{number}.log").open("w") for number in range(len(argvs))]
    children = [
        subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=log)
        for argv, log in zip(argvs, logs, strict=True)
    ]
    try:
        yield
    finally:
        for child, log in zip(children, logs, strict=True):
            child.terminate()
            child.wait(20)
            log.close()


def test_two_load_hosts_two_app_hosts_and_one_database_make_one_recording(database: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "load.py").write_text(LOAD)
    env = {**os.environ, **SECRET, "SHOP_DB": database}
    out = tmp_path / "run"
    argv = [
        *command("run"), "--url", f"http://{ADDRESS['app1']}:8000", "--locustfile", "load.py",
        "--postgres", database, "--listen", f"{HERE}:7700", "--expect-apps", "2", "--expect-workers", "2",
        "--master-bind", f"{HERE}:5599", "--users", "8", "--load", "4", "--cycles", "3", "--json", "--out", str(out),
        *[word for address in ADDRESS.values() for word in ("--allow-remote", address)],
    ]  # fmt: skip
    apps = [
        on(host, "unshare", "--time", "--monotonic", str(ahead), *command("probe"),
           "--collector", f"{HERE}:7700", "--name", host, "--",
           sys.executable, "-m", "flask", "--app", "shop", "run", "--host", ADDRESS[host], "--port", "8000")
        for host, ahead in AHEAD.items()
    ]  # fmt: skip
    master = ["--worker", "--master-host", HERE, "--master-port", "5599"]
    loads = [on(host, sys.executable, "-m", "locust", "-f", "load.py", *master) for host in ("load1", "load2")]
    runner = subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    wait_until((out / "events.jsonl").exists, "the run records", timeout=30, process=runner)
    time.sleep(1)  # until it listens
    with started(*apps, *loads, folder=tmp_path, env=env):
        output, _ = runner.communicate(timeout=180)
    logs = "\n".join(path.read_text()[-1500:] for path in tmp_path.glob("host*.log"))
    assert runner.returncode == 1, logs
    verdict = json.loads(output)
    found = verdict["findings"][0]
    assert (found["kind"], found["sites"][0]["file"], found["sites"][0]["line"]) == ("held", "shop.py", LINE), verdict
    assert {row["host"] for row in verdict["holders"]} == {"app2"}

    read = reader.read(out)
    hosts = {process.host: process.process // HOST for process in read.snapshots[-1].processes}
    assert sorted(hosts) == ["app1", "app2"], "one recording has both"
    assert sum(request.name == "/ok" for request in read.requests) > 100
    assert any(note.code == NoteCode.REQUESTS_ESTIMATED and note.facts.count for note in read.notes), (
        "stock workers tell counts, and it is said"
    )
    loads_at = [(phase.begin, phase.end) for phase in read.phases if phase.name in ("load", "drain")]
    for host, number in hosts.items():
        times = [event.t for event in read.events if event.process // HOST == number and event.kind == "checkout"]
        inside = sum(any(begin - 0.05 <= t <= end + 0.05 for begin, end in loads_at) for t in times)
        assert times and inside == len(times), f"the clock of {host} was {AHEAD[host]} s ahead, and is aligned"
