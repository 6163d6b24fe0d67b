"""The app's side of a collector on another host: a local socket for its probes, and one connection that passes all on.

The app never waits for it: what the collector does not take is dropped by the probe, which counts it.
"""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from connleak.model import Error
from connleak.parts.frames import LARGEST, Frames, local_listener, mac, packed, shows, told

PATIENCE = 5.0


class Relay:
    """Connected to a collector until it is closed; `environment` makes the probes of child processes speak with it."""

    def __init__(self, scratch: Path, address: tuple[str, int], secret: str, name: str) -> None:
        self.path = scratch / "probe.sock"
        self._address = address
        self._secret = secret
        self._name = name
        self._token = secrets.token_hex(16)
        self._frames = Frames()
        self._channels: dict[int, socket.socket] = {}
        self._count = 0
        self._stop = False
        self._lost = False
        self._welcome: dict[str, Any] = {}
        self._sending = threading.Lock()
        self._looking = False
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Relay:
        host, port = self._address
        try:
            self._line = socket.create_connection(self._address, timeout=PATIENCE)
            self._greet()
        except (OSError, ValueError) as error:
            hint = "connleak watch URL --listen HOST:PORT, with the same CONNLEAK_SECRET"
            raise Error(f"no collector at {host}:{port}: {error}", hint, exit_code=4) from None
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener = local_listener(self.path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._line, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        for open_socket in (self._listener, self._line, *self._channels.values()):
            open_socket.close()
        self._selector.close()

    def environment(self) -> dict[str, str]:
        """Returns the variables that make a probe find this relay, and watch as the collector wishes."""
        return {
            "CONNLEAK_SOCKET": str(self.path),
            "CONNLEAK_TOKEN": self._token,
            "CONNLEAK_PROBE": str(self._welcome.get("probe", "pool")),
            "CONNLEAK_GC": str(self._welcome.get("gc", "normal")),
        }

    def _greet(self) -> None:
        """Shows the secret, and has it shown."""
        word = secrets.token_hex(16)
        self._line.sendall(
            told(mac=mac(self._secret, str(self._own()["word"])), host=self._name, word=word, cwd=str(Path.cwd()))
        )
        self._welcome = self._own()
        if not shows(self._secret, word, self._welcome.get("welcome")):
            raise ValueError("it does not know the secret")
        self._line.settimeout(None)

    def _own(self) -> dict[str, Any]:
        """Returns the next message of the relay's own channel, while nothing else is sent."""
        while True:
            data = self._line.recv(1 << 16)
            if not data:
                raise ValueError("it closed the connection: is the secret the same?")
            found = self._frames.feed(data)
            if found:
                for channel, payload in found[1:]:
                    self._answer(channel, payload)
                return dict(json.loads(found[0][1]))

    def _run(self) -> None:
        while not self._stop:
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    channel, _ = self._listener.accept()
                    channel.settimeout(1.0)
                    self._begin(channel)
                elif key.fileobj is self._line:
                    self._take()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._pass_on(key.data, key.fileobj)
            if self._lost:
                self._let_go()
                return

    def _begin(self, channel: socket.socket) -> None:
        """Takes a process in whose first message has our token."""
        try:
            first = channel.recv(LARGEST)
            known = json.loads(first).get("token") == self._token
        except (OSError, ValueError, AttributeError):
            known = False
        if not known:
            channel.close()
            return
        channel.settimeout(None)
        self._count += 1
        self._channels[self._count] = channel
        self._selector.register(channel, selectors.EVENT_READ, self._count)
        self._say(packed(self._count, first))

    def _pass_on(self, number: int, channel: socket.socket) -> None:
        try:
            data = channel.recv(LARGEST)
        except OSError:
            data = b""
        if data:
            self._say(packed(number, data))
            return
        self._selector.unregister(channel)
        channel.close()
        del self._channels[number]
        self._say(told(gone=number))

    def _say(self, data: bytes) -> None:
        try:
            with self._sending:
                if not self._lost:
                    self._line.sendall(data)
        except OSError:
            self._lost = True

    def _take(self) -> None:
        try:
            data = self._line.recv(1 << 16)
            found = self._frames.feed(data)
        except (OSError, ValueError):
            data, found = b"", []
        if not data:
            self._lost = True
        for number, payload in found:
            self._answer(number, payload)

    def _answer(self, number: int, payload: bytes) -> None:
        if number:
            channel = self._channels.get(number)
            if channel is not None:
                try:
                    channel.send(payload)
                except OSError:
                    return
            return
        message = json.loads(payload)
        if "ping" in message:
            self._say(told(pong=message["ping"], at=time.monotonic()))
        elif "ports" in message and not self._looking:
            self._looking = True  # through the sockets of a busy host that takes a second: others must not wait for it
            threading.Thread(target=self._look, name="relay's ports", daemon=True).start()

    def _look(self) -> None:
        try:
            self._say(told(ports=local_ports()))
        finally:
            self._looking = False

    def _let_go(self) -> None:
        """The collector is gone: the probes are let go, and the app goes on as if there were none."""
        self._selector.unregister(self._line)
        for channel in self._channels.values():
            self._selector.unregister(channel)
            channel.close()
        self._channels.clear()


def local_ports() -> dict[int, list[int]]:
    """Returns {pid: its local TCP ports} of this process's descendants."""
    mine = {process.pid for process in psutil.Process().children(recursive=True)}
    found: dict[int, list[int]] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.pid in mine and connection.laddr:
            found.setdefault(connection.pid, []).append(connection.laddr.port)
    return found
