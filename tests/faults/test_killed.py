"""kill -9 of connleak, its supervisor, both, or all of its process group, at any moment: the next start leaves nothing.

CONNLEAK_KILLS=all tries every victim at every moment, with CONNLEAK_SEED as the seed of the moments.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from connleak.databases.postgres import open_postgres
from connleak.databases.postgres.connection import connect
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Supervisor
from support.cli import command
from support.nemeses.arena import segments
from support.plans import server_plan
from support.poll import wait_until

VICTIMS = ("connleak", "supervisor", "both", "group")
MOMENTS = ("start", "load", "rest", "quiet", "judging")
SOME = (
    ("connleak", "start"), ("both", "start"), ("supervisor", "load"), ("both", "load"), ("connleak", "rest"),
    ("both", "quiet"), ("group", "quiet"), ("connleak", "judging"),
)  # fmt: skip
ALL = bool(os.environ.get("CONNLEAK_KILLS"))
MARK = "CONNLEAK_WORLD"


class World:
    """A connleak with separate folders, so that everything that it leaves can be found."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.out = home / "out"
        self.temporary = home / "tmp"
        self.temporary.mkdir()
        self.state = home / "state"
        self.env = {
            **os.environ, "TMPDIR": str(self.temporary), "CONNLEAK_STATE": str(self.state), MARK: str(home),
        }  # fmt: skip
        self.random = random.Random(f"{os.environ.get('CONNLEAK_SEED', '1')} {home.name}")
        self.seen: dict[int, psutil.Process] = {}
        self.named: set[Path] = set()
        self.began = time.time() - 1

    def start(self, *words: str) -> None:
        self.process = subprocess.Popen(
            command(*words, "--out", str(self.out)),
            env=self.env, cwd=self.home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.main = psutil.Process(self.process.pid)

    def look(self) -> list[psutil.Process]:
        """Record the current processes, and the folders that the records name."""
        family = []
        with contextlib.suppress(psutil.Error):
            family = self.main.children(recursive=True)
        self.seen |= {process.pid: process for process in family}
        for path in self.state.glob("*.jsonl"):
            things = [json.loads(line) for line in path.read_text().splitlines()]
            self.named |= {Path(thing["path"]) for thing in things if "path" in thing}
        return family

    def supervisors(self) -> list[psutil.Process]:
        found = []
        for process in self.look():
            with contextlib.suppress(psutil.Error):
                found += [process] if any("supervisor_main.py" in word for word in process.cmdline()) else []
        return found

    def wait_for(self, moment: str) -> None:
        """Wait for a random moment of a phase of the run."""
        deadline = time.monotonic() + 60
        while moment != "start" and not self.has_come_to(moment):
            assert time.monotonic() < deadline and self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, 1.0 if moment == "start" else 0.4))

    def has_come_to(self, moment: str) -> bool:
        name = "end" if moment == "judging" else moment
        with contextlib.suppress(OSError):
            return any(f'"{name}"' in path.read_text() for path in self.home.glob("out/**/phases.jsonl"))
        return False

    def kill(self, victim: str, *, next_run_follows: bool = False) -> None:
        """Kill, and wait for the end; a comparison that lost one run's supervisor starts the next run: interrupt it."""
        supervisors = self.supervisors()
        if victim in ("supervisor", "both"):
            for supervisor in supervisors:
                with contextlib.suppress(psutil.NoSuchProcess):
                    supervisor.kill()
        if victim in ("connleak", "both"):
            self.process.kill()
        if victim == "group":
            os.killpg(self.process.pid, signal.SIGKILL)
        if next_run_follows:
            time.sleep(self.random.uniform(0, 5))
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)

    def interrupt(self, *numbers: int) -> None:
        """Send signals, one soon after the other, and wait for the end."""
        for number in numbers:
            self.process.send_signal(number)
            time.sleep(self.random.uniform(0, 0.3))
        self.process.communicate(timeout=30)
        assert self.process.returncode in (130, -signal.SIGINT), "a second may come when it has all but ended"

    def next_start(self) -> None:
        """Remove leftovers, as each start does."""
        done = subprocess.run(command("doctor", "--clean"), env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def remains(self) -> list[str]:
        """Return what exists of the run."""
        mine = list(self.seen.values())
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine += [process] if process.environ().get(MARK) == str(self.home) else []
        found = []
        for process in mine:
            with contextlib.suppress(psutil.Error):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"process {process.pid} {process.cmdline()}")
        found += [f"folder {path}" for path in self.temporary.glob("connleak-*")]
        found += [f"folder {path}" for path in self.named if path.exists()]
        found += [f"record {path}: {path.read_text()}" for path in self.state.glob("*")]
        return found + [f"segment {row}" for row in segments(set(self.seen), self.began)]

    def leaves_nothing(self, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while (found := self.remains()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found == []


@pytest.fixture
def world() -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="w-", dir="/tmp"))  # short, since it contains sockets
    yield World(home)
    shutil.rmtree(home)


@pytest.mark.parametrize(("victim", "moment"), list(itertools.product(VICTIMS, MOMENTS)) if ALL else SOME)
def test_a_killed_run(world: World, victim: str, moment: str) -> None:
    world.start("run", "missing_remove:buggy", "--load", "0.5", "--cycles", "2")
    world.wait_for(moment)
    world.kill(victim)
    if victim in ("connleak", "group"):
        world.leaves_nothing()  # its supervisor removes everything, without a further start
    world.next_start()
    world.leaves_nothing()


def test_the_next_run_says_what_it_removed(world: World) -> None:
    world.start("run", "missing_remove:buggy", "--load", "0.5")
    world.wait_for("load")
    world.kill("both")
    assert world.remains()
    world.out = world.home / "next"
    world.start("run", "missing_remove:buggy", "--load", "0.5", "--cycles", "2")
    _, output = world.process.communicate(timeout=90)
    assert "removed what a killed run left: " in output and " folders" in output, output
    world.leaves_nothing(1)


@pytest.mark.parametrize("victim", ["connleak", "both", "group"])
def test_a_killed_corpus(world: World, victim: str) -> None:
    world.start("corpus", "-k", "missing_remove", "--jobs", "2")
    world.wait_for("load")
    workers = [process for process in world.look() if process.ppid() == world.process.pid]
    assert len(workers) == 2
    world.kill(victim)
    if victim != "both":
        world.leaves_nothing()
    world.next_start()
    world.leaves_nothing()


def test_a_corpus_whose_worker_is_killed_says_so_and_leaves_nothing_itself(world: World) -> None:
    world.start("corpus", "-k", "missing_remove", "--jobs", "2")
    world.wait_for("load")
    next(process for process in world.look() if process.ppid() == world.process.pid).kill()
    _, output = world.process.communicate(timeout=30)
    assert world.process.returncode == 4 and "a worker was killed after 0 of" in output and "next: " in output, output
    world.leaves_nothing()


APP = """
import os
from wsgiref.simple_server import make_server
import psycopg2

def app(environ, start_response):
    psycopg2.connect(os.environ["DATABASE_URL"]).close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]

make_server("127.0.0.1", int(os.environ["APP_PORT"]), app).serve_forever()
"""


def git(repository: Path, *words: str) -> str:
    argv = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(argv, cwd=repository, check=True, capture_output=True, text=True).stdout


SOON, LATE = 0.3, 3.0
SOME_REVISIONS = (("connleak", LATE), ("supervisor", LATE), ("both", SOON), ("both", LATE), ("group", SOON))


@pytest.mark.parametrize(
    ("victim", "seconds"), list(itertools.product(VICTIMS, (SOON, LATE))) if ALL else SOME_REVISIONS
)
def test_a_killed_comparison_of_revisions(world: World, victim: str, seconds: float) -> None:
    repository = world.home / "shop"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    for number in range(2):
        (repository / "shop.py").write_text(f"{APP}# {number}\n")
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", "a change")
    port = free_port()
    words = ["--app", f"{sys.executable} shop.py", "--cwd", str(repository), "--url", f"http://127.0.0.1:{port}"]
    before = sorted(repository.rglob("*"))
    world.start("compare", *words, "--env", f"APP_PORT={port}", "--git-ref", "HEAD~1", "--git-ref", "HEAD")
    wait_until(lambda: list(repository.glob(".git/worktrees/*")), "a work tree", timeout=30, process=world.process)
    time.sleep(world.random.uniform(0, seconds))
    world.kill(victim, next_run_follows=victim == "supervisor")
    if victim != "both":
        world.leaves_nothing()
    world.next_start()
    world.leaves_nothing()
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert sorted(repository.rglob("*")) == before


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT] * 2])
def test_an_interrupted_comparison_of_revisions_leaves_nothing_itself(world: World, numbers: list[int]) -> None:
    """From the first moment, also while git still makes a work tree."""
    repository = world.home / "shop"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    (repository / "shop.py").write_text(APP)
    for count in range(2000):
        (repository / f"file{count}").write_text(str(count))
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "a change")
    words = ["--app", f"{sys.executable} shop.py", "--cwd", str(repository), "--url", "http://127.0.0.1:1"]
    before = sorted(repository.rglob("*"))
    world.start("compare", *words, "--git-ref", "HEAD", "--git-ref", "main")
    wait_until(lambda: list(repository.glob(".git/worktrees/*")), "a work tree", timeout=30, process=world.process)
    world.look()
    world.interrupt(*numbers)
    world.leaves_nothing(5)
    assert sorted(repository.rglob("*")) == before


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Callable[[], set[str]]]]:
    """Yield the address of an external PostgreSQL, and a function that returns the databases and roles of runs."""
    plan = server_plan(max_connections=60)
    with ExitStack() as stack:
        opened = stack.enter_context(open_postgres(stack.enter_context(Supervisor()), plan, None, tmp_path))
        admin = stack.enter_context(contextlib.closing(connect(opened.admin, opened.dbname)))
        cursor = admin.cursor()
        cursor.execute("CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'sesame'")

        def in_database() -> set[str]:
            cursor.execute("SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles")
            return {name for (name,) in cursor.fetchall() if name.startswith("connleak_")}

        yield f"postgresql://boss:sesame@127.0.0.1:{opened.port}/app", in_database


@pytest.mark.parametrize(("victim", "moment"), [("connleak", "load"), ("both", "start"), ("both", "rest")])
def test_a_killed_run_at_an_address(
    world: World, server: tuple[str, Callable[[], set[str]]], victim: str, moment: str
) -> None:
    address, in_database = server
    words = ("run", "missing_remove:buggy", "--load", "0.5", "--cycles", "2", "--postgres", address)
    world.start(*words)
    world.wait_for(moment)
    world.kill(victim)
    left = in_database()
    assert left or moment == "start"
    world.next_start()
    assert in_database() == left  # that start has no address
    world.out = world.home / "next"
    world.start(*words)
    _, output = world.process.communicate(timeout=90)
    assert in_database() == set()
    assert all(f"dropped {name}, which a killed run left" in output for name in left)
    world.leaves_nothing()


def test_a_run_at_an_address_that_is_interrupted_twice_leaves_nothing_itself(
    world: World, server: tuple[str, Callable[[], set[str]]]
) -> None:
    address, in_database = server
    world.start("run", "missing_remove:buggy", "--load", "0.5", "--cycles", "2", "--postgres", address)
    world.wait_for("load")
    assert in_database()
    world.look()
    world.interrupt(signal.SIGINT, signal.SIGTERM)
    assert in_database() == set()
    world.leaves_nothing(5)
