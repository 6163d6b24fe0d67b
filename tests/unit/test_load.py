"""The load's control socket: what Locust says in whatever order."""

from __future__ import annotations

import json
import os
import socket
import threading
from types import SimpleNamespace

from build import plan
from connleak.parts.frames import local_listener
from connleak.parts.load import Load


def test_the_word_that_the_users_have_stopped_is_heard_whichever_read_it_comes_with(tmp_path) -> None:
    ours, theirs = socket.socketpair()
    load = Load(SimpleNamespace(exit_code=lambda child: None, check=lambda: None), plan(), tmp_path, 0.0, {})
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
            assert load.stop()["requests"] == 7
    peer.join()


def test_the_sockets_are_their_owners_alone_whatever_the_umask(tmp_path) -> None:
    before = os.umask(0)
    try:
        keeper = SimpleNamespace(
            scratch=tmp_path, start=lambda *_, **__: object(), need=lambda _: None, stop=lambda *_, **__: None
        )
        with Load(keeper, plan(), tmp_path, 0.0, {}), local_listener(tmp_path / "probe.sock"):
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.sock")}
    finally:
        os.umask(before)
    assert modes == {"load.sock": 0o600, "probe.sock": 0o600}
