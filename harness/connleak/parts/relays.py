"""The collector's side of probes on other hosts: who they are, how far their clocks are off, and their processes."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from connleak.model import HOST
from connleak.parts.frames import Frames, mac, packed, shows, told

PINGS = 9
"""Questions for the clock when a relay has come, one after the other: the fastest answer counts."""
SLOW = 2.0
"""Seconds that a relay may take to read what it is sent."""
AGAIN = 30.0
"""Seconds until a relay's clock is asked for again."""


class Channel:
    """One process behind a relay, with what the collector asks of a socket."""

    def __init__(self, relay: Relay, number: int) -> None:
        self.relay = relay
        self.number = number

    def send(self, data: bytes) -> None:
        self.relay.send(packed(self.number, data))

    def close(self) -> None:
        self.relay.channels.pop(self.number, None)


class Relay:
    """One connection of a `connleak probe --collector` on some host."""

    def __init__(self, connection: socket.socket, secret: str, welcome: dict[str, Any]) -> None:
        connection.settimeout(SLOW)
        self.socket = connection
        self._lock = threading.Lock()
        self._secret = secret
        self._welcome = welcome
        self._frames = Frames()
        self._word = secrets.token_hex(16)
        self._pings = 0
        self._best = float("inf")
        self._asked = 0.0
        self.offset = 0.0
        """Seconds that are added to the host's monotonic clock to get ours."""
        self.host = ""
        self.cwd = "/"
        self.number = 0
        self.ports: dict[int, list[int]] = {}
        """{pid there: its local TCP ports}, of the last asking."""
        self.channels: dict[int, Channel] = {}
        self.send(told(word=self._word))

    def send(self, data: bytes) -> None:
        """Sends a frame whole; raises OSError when the relay is gone, or does not read."""
        with self._lock:
            self.socket.sendall(data)

    def receive(self, number_of: Callable[[str], int]) -> list[tuple[Channel, bytes]]:
        """Returns what its processes said; an empty payload is one that ended. Raises OSError or ValueError at its end.

        `number_of` gives a host that has shown the secret its number.
        """
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the relay is gone")
        found = []
        for number, payload in self._frames.feed(data):
            if number == 0:
                found += self._own(json.loads(payload), number_of)
            elif not self.host:
                raise ValueError("a relay that has not shown the secret")
            else:
                channel = self.channels.setdefault(number, Channel(self, number))
                found.append((channel, payload))
        return found

    def _own(self, message: dict[str, Any], number_of: Callable[[str], int]) -> list[tuple[Channel, bytes]]:
        if "mac" in message:
            if not shows(self._secret, self._word, message["mac"]):
                raise ValueError("a relay with another secret")
            self.host = str(message["host"])[:60] or "host"
            self.number = number_of(self.host)
            self.cwd = str(message.get("cwd", "/")).rstrip("/") + "/"
            self.send(told(welcome=mac(self._secret, str(message["word"])), **self._welcome))
            self.ping()
        elif not self.host:
            raise ValueError("a relay that has not shown the secret")
        elif "pong" in message:
            self._pong(float(message["pong"]), float(message["at"]))
        elif "ports" in message:
            self.ports = {int(pid): [int(port) for port in ports] for pid, ports in message["ports"].items()}
        elif "gone" in message:
            channel = self.channels.pop(int(message["gone"]), None)
            return [(channel, b"")] if channel is not None else []
        return []

    def ping(self) -> None:
        self._asked = time.monotonic()
        self.send(told(ping=self._asked))

    def _pong(self, sent: float, there: float) -> None:
        """Takes the middle between sending and answer for the moment at which the other clock was read."""
        now = time.monotonic()
        self._pings += 1
        if now - sent <= self._best:
            self._best = now - sent
            self.offset = (sent + now) / 2 - there
        if self._pings < PINGS:
            self.ping()

    def keep_time(self) -> None:
        """Asks for the clock again when that was long ago: clocks drift."""
        if self.host and time.monotonic() - self._asked > AGAIN:
            self._pings, self._best = 0, float("inf")
            self.ping()

    def process(self, pid: int) -> int:
        """Returns the number of a process in the recording: pids of two hosts may be the same."""
        return self.number * HOST + pid


class Told(NamedTuple):
    """What a relay said: its processes' messages (an empty one: ended); whether it is gone, and why we sent it away."""

    said: list[tuple[Channel, bytes]]
    ended: bool = False
    why: str = ""


class Relays:
    """All relays of a collector, and the socket at which they come in."""

    def __init__(self, listener: socket.socket, secret: str, welcome: dict[str, Any]) -> None:
        self.listener = listener
        self._secret = secret
        self._welcome = welcome
        self._hosts: list[str] = []
        self.relays: dict[socket.socket, Relay] = {}

    def accept(self) -> socket.socket | None:
        """Returns the connection of a relay that comes in, None when it is gone already."""
        connection, _ = self.listener.accept()
        try:
            self.relays[connection] = Relay(connection, self._secret, self._welcome)
        except OSError:
            connection.close()
            return None
        return connection

    def receive(self, connection: socket.socket) -> Told:
        """Returns what a relay said; one that is gone or speaks nonsense is forgotten, with all its processes."""
        relay = self.relays[connection]
        try:
            return Told(relay.receive(self._number_of))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            del self.relays[connection]
            why = "" if isinstance(error, OSError) else str(error)
            return Told([(channel, b"") for channel in relay.channels.values()], True, why)

    def _number_of(self, host: str) -> int:
        if host not in self._hosts:
            self._hosts.append(host)
        return self._hosts.index(host) + 1

    def keep_time(self) -> None:
        for relay in list(self.relays.values()):
            with contextlib.suppress(OSError):
                relay.keep_time()

    def hosts(self) -> list[str]:
        """Returns the hosts whose probes are connected."""
        return [relay.host for relay in list(self.relays.values()) if relay.host]

    def ports(self) -> dict[int, int]:
        """Returns {local TCP port: process} as the hosts told it last, and asks anew; one that two have is nobody's."""
        found: dict[int, int] = {}
        twice = set()
        for relay in list(self.relays.values()):
            for pid, ports in relay.ports.items():
                twice |= found.keys() & set(ports)
                found.update(dict.fromkeys(ports, relay.process(pid)))
            with contextlib.suppress(OSError):
                relay.send(told(ports=1))
        return {port: process for port, process in found.items() if port not in twice}
