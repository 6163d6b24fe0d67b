"""The load's control socket: what Locust says in whatever order."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from types import SimpleNamespace

import msgspec
import pytest
from connleak.model.errors import Error
from connleak.processes import locust_load as parts
from connleak.processes.locust_load import Locustfile, LocustLoad
from connleak.processes.sockets import listen_local
from support.plans import plan


def made(supervisor, folder) -> LocustLoad:
    return LocustLoad(supervisor, plan(), folder, 0.0, {}, lambda: Locustfile("steady_load.py"))


def test_the_word_that_the_users_have_stopped_is_heard_whichever_read_it_comes_with(tmp_path) -> None:
    ours, theirs = socket.socketpair()
    load = made(SimpleNamespace(exit_code=lambda child: None, check=lambda: None), tmp_path)
    load._child, load._channel = object(), ours
    read = load._read
    load._read = lambda timeout: read(max(timeout, 0.05))  # so that each read waits for one message

    def locust() -> None:
        with theirs, theirs.makefile() as commands:
            for command in commands:
                for word in ("status", "stopped") if json.loads(command)["do"] == "stop" else ():
                    theirs.sendall(json.dumps({"say": word, "requests": 7, "cut": False}).encode() + b"\n")
                    threading.Event().wait(0.02)

    peer = threading.Thread(target=locust)
    peer.start()
    with ours:
        for _ in range(5):
            assert load.stop().requests == 7
    peer.join()


def test_the_sockets_are_their_owners_alone_whatever_the_umask(tmp_path) -> None:
    before = os.umask(0)
    try:
        supervisor = SimpleNamespace(
            scratch=tmp_path, start=lambda *_, **__: object(), need=lambda _: None, stop=lambda *_, **__: None
        )
        with made(supervisor, tmp_path), listen_local(tmp_path / "probe.sock"):
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.sock")}
    finally:
        os.umask(before)
    assert modes == {"load.sock": 0o600, "probe.sock": 0o600}


def connected(folder, channel: socket.socket) -> LocustLoad:
    load = made(SimpleNamespace(exit_code=lambda child: None, check=lambda: None), folder)
    load._child, load._channel = object(), channel
    return load


def test_a_set_up_that_took_long_is_no_silence_of_locusts(tmp_path) -> None:
    ours, theirs = socket.socketpair()
    load = connected(tmp_path, ours)
    with ours, theirs:
        load._last_message_at -= 2 * parts.SILENT
        theirs.sendall(b'{"say":"waiting","workers":1,"wanted":2}\n{"say":"ready"}\n')
        assert load._connected()
        load.check()
        load._last_message_at -= 2 * parts.SILENT
        with pytest.raises(Error, match="sent no message"):
            load.check()


def test_half_a_line_is_no_silence(tmp_path) -> None:
    ours, theirs = socket.socketpair()
    load = connected(tmp_path, ours)
    load.ready = True
    with ours, theirs:
        load._last_message_at -= 2 * parts.SILENT
        theirs.sendall(b'{"say":')
        load._receive(1.0)


PLUGIN = """
import locust
import json
from connleak.processes import hosts
from connleak.locust_requests import Requests, row_of
log = Requests("requests.jsonl", 0.0)
for number in range(3000):
    log.write(0.0, row_of(0.1, "/", "GET", None) | {"connleak_elsewhere": "a" * 400 + str(number)})
    log.write(0.0, row_of(0.1, "/", "GET", None) | {"connleak_elsewhere": "%d.example" % number})
def wrapped():
    try:
        raise hosts.Refused("real.example")
    except OSError as error:
        raise ConnectionError("Max retries exceeded: " + str(error)) from error
said = hosts.refusal("evil.example")
for make in (wrapped, lambda: (_ for _ in ()).throw(ConnectionError(said)),
             lambda: (_ for _ in ()).throw(ConnectionError("500 Server Error: " + said)),
             lambda: (_ for _ in ()).throw(ConnectionRefusedError(111, "Connection refused"))):
    try:
        make()
    except OSError as error:
        log.write(0.0, row_of(0.1, "/", "GET", error))
log.file.close()
from connleak.locust_plugin import LoadControl
load = LoadControl.__new__(LoadControl)
load.log = log
print(json.dumps({"say": "status", **load.counts()}))
"""


def test_hosts_that_the_app_names_are_bounded_and_only_those_that_were_refused_are_told(tmp_path) -> None:
    done = subprocess.run(
        [parts.sys.executable, "-c", PLUGIN], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    said = msgspec.json.decode(done.stdout.splitlines()[-1], type=parts.Message)
    assert said.elsewhere.refused == {"real.example": 1}
    assert max(said.elsewhere.redirects.values()) >= 3000, "all hosts of one beginning, or beyond those told apart"
    rows = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert ["unsent" in row for row in rows if "error" in row] == [True, False, False, True]
    assert {name for row in rows for name in row if name.startswith("connleak")} == set()


def test_no_module_of_the_apps_is_imported_before_the_guard(tmp_path) -> None:
    for name in ("json", "ipaddress", "runpy", "gevent"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the app')")
    (tmp_path / "sibling.py").write_text("")
    (tmp_path / "loads").mkdir()
    (tmp_path / "loads" / "mine.py").write_text(
        "import sibling\nfrom locust import HttpUser, task\nclass Mine(HttpUser):\n    @task\n"
        "    def go(self):\n        pass\n"
    )
    done = subprocess.run(
        [*parts.LOCUST, "-f", "loads/mine.py", "--list"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "Mine" in done.stdout, done.stdout + done.stderr
