"""The next start removes the leftovers of killed runs, and nothing of a living run or of another program."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import pymysql
import pytest
from connleak.databases.mysql.external import external_mysql
from connleak.databases.postgres.connection import connect
from connleak.databases.postgres.external import external_postgres
from connleak.databases.server import Server
from connleak.plan.addresses import parse_database
from connleak.processes import leftovers, records
from connleak.processes.supervisor import Supervisor
from connleak.processes.supervisor_main import facts_of, kill
from connleak.processes.variables import MARK
from support.databases import started_database
from support.paths import TESTS
from support.poll import wait_until
from support.sleepers import FAMILY, SEGMENT, segments, sleepers

RUN = f"""
import os, sys, time
from pathlib import Path
from connleak.processes.supervisor import Supervisor
with Supervisor() as supervisor:
    supervisor.start("a", ["sh", "-c", {FAMILY!r}], cwd=Path("/"), env=dict(os.environ), log=supervisor.scratch / "log")
    print(supervisor.scratch, supervisor.scratch_in_memory("data"), supervisor._process.pid, flush=True)
    time.sleep(1000)
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder for one test and all processes that it starts."""
    monkeypatch.setenv("CONNLEAK_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@contextlib.contextmanager
def script(text: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Yield a Python process and the words of its first line; kill it at the end."""
    with subprocess.Popen([sys.executable, "-c", text, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()
        finally:
            process.kill()


def kept(state: Path) -> list[Path]:
    return list(state.glob("*"))


def test_with_connleak_and_its_supervisor_killed_at_once_the_next_start_removes_all(state: Path) -> None:
    with script(RUN) as (runner, (scratch, memory, supervisor)):
        wait_until(lambda: len(sleepers()) == 5, "the family is up")
        assert sum(leftovers.sweep().values()) == 0, "of a living run nothing is left over"
        os.kill(runner.pid, signal.SIGKILL)
        os.kill(int(supervisor), signal.SIGKILL)
        runner.wait()
    wait_until(
        lambda: not Path(f"/proc/{supervisor}").exists() or facts_of(int(supervisor)) is None,
        "the supervisor has ended",
    )
    assert len(sleepers()) >= 3, "those whose parent did not die of the supervisor's end live on"
    assert Path(scratch).exists() and Path(memory).exists()
    removed = leftovers.sweep()
    folders = 1 if Path(memory).is_relative_to(scratch) else 2  # with little memory, one is inside the other
    assert removed["process"] >= 3 and removed["folder"] == folders
    assert sleepers() == []
    assert not Path(scratch).exists() and not Path(memory).exists()
    assert kept(state) == []


def test_a_run_lives_as_long_as_its_supervisor(state: Path) -> None:
    with script(RUN) as (runner, (scratch, _, supervisor)):
        os.kill(int(supervisor), signal.SIGSTOP)
        runner.kill()
        runner.wait()
        assert leftovers.sweep() == Counter() and list(leftovers.describe_leftovers()) == []
        assert Path(scratch).exists()
        os.kill(int(supervisor), signal.SIGCONT)
    wait_until(lambda: not kept(state), "the supervisor removes the record, too")
    assert not Path(scratch).exists() and sleepers() == []


def test_a_run_that_ends_leaves_no_record(state: Path) -> None:
    with Supervisor() as supervisor:
        assert len(kept(state)) == 1 and kept(state)[0].stat().st_mode & 0o777 == 0o600
        assert state.stat().st_mode & 0o777 == 0o700
        supervisor.scratch_in_memory("data")
    assert kept(state) == []


def test_only_processes_of_a_recorded_run_that_ended_are_killed(tmp_path: Path, state: Path) -> None:
    strange = {**os.environ, MARK: str(tmp_path / "connleak-strange")}  # it is in no record
    with Supervisor() as living, subprocess.Popen(["sleep", "1000"], env=strange) as stranger:
        try:
            ours = living.start(
                "it", ["sleep", "1000"], cwd=Path("/"), env=dict(os.environ), log=living.scratch / "log"
            )
            records.create().close()  # a run that was killed
            assert leftovers.sweep() == Counter()
            assert stranger.poll() is None and living.exit_code(ours) is None
        finally:
            stranger.kill()


def test_a_program_that_overwrote_its_environment_is_found_by_its_folder(state: Path, tmp_path: Path) -> None:
    record = records.create()
    folder = record.folder(tmp_path)
    record.add(records.ProcessEntry(0, time.time()))
    record.close()
    shell = subprocess.Popen(["sleep", "1000"], cwd=folder)  # of a user in that folder
    blank = subprocess.Popen(["sleep", "1000"], cwd=folder, env={})
    try:
        assert leftovers.sweep() == Counter(process=1, folder=1)
        assert blank.wait(5) == -signal.SIGKILL and shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def test_shared_memory_of_a_killed_run_is_removed_and_no_other(state: Path) -> None:
    began = time.time()
    ours = subprocess.Popen([sys.executable, "-c", SEGMENT], stdout=subprocess.PIPE, text=True)
    mine, other = (
        ours.communicate()[0].strip(),
        subprocess.run([sys.executable, "-c", SEGMENT], capture_output=True, text=True, check=False).stdout.strip(),
    )
    record = records.create()
    record.add(records.ProcessEntry(ours.pid, began))
    record.close()
    assert leftovers.sweep() == Counter({"shared memory segment": 1})
    assert mine not in segments() and other in segments()
    subprocess.run(["ipcrm", "-m", other], check=True)


def test_what_cannot_be_removed_stays_recorded_and_is_reported(state: Path, tmp_path: Path) -> None:
    record = records.create()
    record.add(records.CommandEntry("container connleak-1", ("sh", "-c", "test -e gone && echo it"), {}))
    record.add(records.FolderEntry(str(tmp_path)))  # not a name of connleak's folders: it is not removed
    record.close()
    assert leftovers.sweep() == Counter() and list(leftovers.describe_leftovers()) == [
        "container connleak-1",
        str(tmp_path),
    ]
    assert tmp_path.exists()


def write(state: Path, **owner: object) -> Path:
    """Write a record of an owner that has ended, with a folder; return the folder."""
    state.mkdir(mode=0o700, exist_ok=True)
    folder = state.parent / "connleak-folder"
    folder.mkdir()
    lines = [{"type": "Owner", "node": platform.node(), "boot": "", "at": time.time(), **owner}]
    lines += [{"type": "Folder", "path": str(folder)}]
    (state / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"type": "Fol')
    return folder


def test_a_record_that_was_cut_short_is_read_as_far_as_it_goes(state: Path) -> None:
    folder = write(state)
    assert leftovers.sweep() == Counter(folder=1)
    assert not folder.exists() and not kept(state)


def test_another_machines_record_is_kept_for_a_month(state: Path) -> None:
    folder = write(state, node="elsewhere")
    assert leftovers.sweep() == Counter() and folder.exists() and kept(state)
    folder.rmdir()
    write(state, node="elsewhere", at=time.time() - 31 * 86400)
    assert leftovers.sweep() == Counter() and folder.exists() and not kept(state)


def test_a_state_folder_that_others_can_write_to_is_not_used(state: Path) -> None:
    folder = write(state)
    state.chmod(0o777)
    assert leftovers.sweep() == Counter() and folder.exists()
    with Supervisor() as supervisor:  # it works without a record, and removes its folder at its end
        scratch = supervisor.scratch
    assert not scratch.exists() and [path.name for path in kept(state)] == ["a.jsonl"]


REUSE = """
import os, signal, socket, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
import supervisor_main as module
ours, theirs = socket.socketpair()
supervisor = module.SupervisorProcess(ours)
script = "trap '' TERM; sleep 1000 & echo $! > child; while true; do wait; done"
pid, error = module.start({"argv": ["sh", "-c", script], "cwd": sys.argv[2], "log": "/dev/null", "env": os.environ})
supervisor.children[pid] = {}
path = sys.argv[2] + "/child"
while not os.path.exists(path) or not open(path).read().strip():
    time.sleep(0.01)
child = int(open(path).read())
supervisor.stop(pid, signal.SIGTERM, 0.3)
os.kill(child, signal.SIGKILL)
while os.path.exists(f"/proc/{child}"):
    time.sleep(0.01)
for _ in range(100):
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(child - 1))
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if stranger.pid == child:
        break
    stranger.kill()
    stranger.wait()
assert stranger.pid == child, "the pid was not given again"
time.sleep(0.4)
while pid in supervisor.children:
    supervisor.reap()
print("killed" if stranger.poll() is not None else "lives")
"""


@pytest.mark.needs("user namespaces")
def test_the_supervisor_kills_no_process_that_got_the_pid_of_a_child(tmp_path: Path) -> None:
    supervisor = Path(leftovers.__file__).parent
    argv = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    done = subprocess.run(
        [*argv, sys.executable, "-c", REUSE, str(supervisor), str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == "lives", done.stderr


@pytest.mark.parametrize("refused", [None, PermissionError, AttributeError])
def test_a_snapshots_process_is_killed_and_none_that_started_at_another_time(
    monkeypatch: pytest.MonkeyPatch, refused: type[Exception] | None
) -> None:
    if refused:

        def refuse(_: int) -> int:
            raise refused(1, "a sandbox without pidfd_open")

        monkeypatch.setattr(os, "pidfd_open", refuse)
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        facts = facts_of(sleeper.pid)
        kill({sleeper.pid: facts[2] - 1})
        time.sleep(0.1)
        assert sleeper.poll() is None
        kill({sleeper.pid: facts[2]})
        assert sleeper.wait(5) == -signal.SIGKILL


FOREIGN = """
import sys, time
from connleak.databases.mysql.external import external_mysql
from connleak.databases.postgres.external import external_postgres
from connleak.plan.addresses import parse_database
address = sys.stdin.readline().strip()
parsed = parse_database(address, ())
with external_mysql(parsed) if parsed.kind == "mysql" else external_postgres(parsed, ()) as server:
    print(server.dbname, flush=True)
    time.sleep(1000)
"""


def killed_with_database(address: str) -> str:
    """Return the database that a killed run left on a server."""
    with subprocess.Popen(
        [sys.executable, "-c", FOREIGN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdin is not None and runner.stdout is not None
        runner.stdin.write(f"{address}\n")
        runner.stdin.flush()
        name = runner.stdout.readline().strip()
        runner.kill()
    return name


def check_sweep(address: str, ask: Callable[[str], list[str]], state: Path, opener: Callable, hold: Callable) -> None:
    """Check the handling by the next run at an address of the databases that exist there."""
    left = killed_with_database(address)
    assert left in ask("databases") and left in ask("roles")
    recorded = "".join(path.read_text() for path in kept(state))
    assert left in recorded and "sesame" not in recorded and "boss" not in recorded
    with opener(parse_database(address, ())) as living:  # the database of a living run is not dropped
        assert living.notes == (f"dropped {left}, which a killed run left",)
        with opener(parse_database(address, ())) as second:
            assert second.notes == ()
        assert {name for name in ask("databases") if name.startswith("connleak_")} == {living.dbname}
    assert kept(state) == []
    used = killed_with_database(address)
    with hold(used), opener(parse_database(address, ())) as server:  # a client is connected to it
        assert server.notes == () and used in ask("databases")
    with opener(parse_database(address, ())) as server:
        assert server.notes == (f"dropped {used}, which a killed run left",)
    strange = killed_with_database(address)
    for record in kept(state):  # as if of a run on another machine
        record.unlink()
    with opener(parse_database(address, ())) as server:
        assert server.notes == () and strange in ask("databases"), "it may have begun a moment ago"
    old = "connleak_260101_000000_abcdef"
    ask(f"CREATE DATABASE {old}")
    with opener(parse_database(address, ())) as server:
        assert len(server.notes) == 1 and server.notes[0].startswith(
            f"{old} belongs to a run that is not recorded here"
        )
        assert "DROP DATABASE" in server.notes[0]
    assert old in ask("databases")


def test_a_killed_runs_database_is_dropped_by_the_next_at_that_postgresql(server: Server, state: Path) -> None:
    with contextlib.closing(connect(server.admin, server.dbname)) as admin, admin.cursor() as cursor:
        cursor.execute("CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'sesame'")
        before = {path.name for path in kept(state)}
        queries = {"databases": "SELECT datname FROM pg_database", "roles": "SELECT rolname FROM pg_roles"}

        def ask(what: str) -> list[str]:
            cursor.execute(queries.get(what, what))
            return [row[0] for row in cursor.fetchall()] if what in queries else []

        @contextlib.contextmanager
        def hold(name: str) -> Iterator[None]:
            with contextlib.closing(psycopg2.connect(**{**server.admin, "dbname": name})):
                yield

        address = f"postgresql://boss:sesame@127.0.0.1:{server.port}/app"
        with monkey_state(state / "own"):
            check_sweep(address, ask, state / "own", lambda parsed: external_postgres(parsed, ()), hold)
        assert {path.name for path in kept(state)} == before | {"own"}


@contextlib.contextmanager
def monkey_state(folder: Path) -> Iterator[None]:
    """Use another state folder than the supervisor of the server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONNLEAK_STATE", str(folder))
        yield


def test_a_killed_runs_database_is_dropped_by_the_next_at_that_mysql(
    supervisor: Supervisor, tmp_path: Path, state: Path
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(started_database(supervisor, "mysql", tmp_path))
        admin = stack.enter_context(contextlib.closing(pymysql.connect(**server.admin, autocommit=True)))
        cursor = admin.cursor()
        cursor.execute("CREATE USER boss@'%' IDENTIFIED BY 'sesame'")
        cursor.execute("GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION")
        queries = {"databases": "SHOW DATABASES", "roles": "SELECT user FROM mysql.user"}

        def ask(what: str) -> list[str]:
            cursor.execute(queries.get(what, what))
            return [row[0] for row in cursor.fetchall()] if what in queries else []

        @contextlib.contextmanager
        def hold(name: str) -> Iterator[None]:
            with contextlib.closing(pymysql.connect(**{**server.admin, "database": name})):
                yield

        address = f"mysql://boss:sesame@127.0.0.1:{server.port}/{server.dbname}"
        with monkey_state(state / "own"):
            check_sweep(address, ask, state / "own", external_mysql, hold)


HOMELESS = """
import os
from connleak.processes import records
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(records.state_folder())
"""


@pytest.mark.needs("root")
def test_an_account_without_a_home_has_its_records_in_tmp_unless_that_is_not_private(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("CONNLEAK_", "XDG_"))}

    def state_folder() -> str:
        argv = [sys.executable, "-c", HOMELESS]
        return subprocess.run(
            argv, env={**environ, "HOME": "/nonexistent"}, capture_output=True, text=True, check=True
        ).stdout.strip()

    place = Path("/tmp/.connleak-state-65534")
    assert state_folder() == str(place) and place.stat().st_mode & 0o777 == 0o700
    place.rmdir()
    place.mkdir(mode=0o777)  # root's: its commands would be run
    try:
        assert state_folder() == "None"
    finally:
        place.rmdir()


CONTAINER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support.plans import server_plan
from connleak.model.plan import Database
from connleak.databases.postgres import open_postgres
from connleak.processes.supervisor import Supervisor
with Supervisor() as supervisor:
    with open_postgres(supervisor, server_plan(database=Database(source="docker")), None, Path(sys.argv[2])):
        print(supervisor._process.pid, flush=True)
        time.sleep(1000)
"""


@pytest.mark.needs("docker")
def test_a_killed_runs_container_is_removed_once_its_engine_answers(tmp_path: Path, state: Path) -> None:
    with script(CONTAINER, str(TESTS), str(tmp_path)) as (runner, (supervisor,)):
        os.kill(runner.pid, signal.SIGKILL)
        os.kill(int(supervisor), signal.SIGKILL)
    things = [json.loads(line) for path in kept(state) for line in path.read_text().splitlines()]
    (command,) = (thing for thing in things if thing["type"] == "Command")

    def there() -> str:
        name = command["removes"].removeprefix("container ")
        argv = ["docker", "ps", "-aq", "--filter", f"name={name}"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    assert there()
    lines = [json.dumps({**t, "env": {"DOCKER_HOST": "unix:///no"}} if t == command else t) for t in things]
    kept(state)[0].write_text("".join(f"{line}\n" for line in lines))
    assert (
        leftovers.sweep()["container"] == 0 and there() and list(leftovers.describe_leftovers()) == [command["removes"]]
    )
    kept(state)[0].write_text(json.dumps(things[0]) + "\n" + json.dumps(command) + "\n")
    assert leftovers.sweep() == Counter(container=1)
    assert not there() and kept(state) == []
