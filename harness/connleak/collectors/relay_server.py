"""The collector's side of probes on other hosts: who they are, how far their clocks are off, and their processes."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from connleak.collectors.doors import WAITING, Door
from connleak.collectors.framing import LARGEST, UNKNOWN, Frames, mac, packed, shows, told
from connleak.collectors.messages import Nonsense, Pid, Seconds, decoded
from connleak.model.recording import HOST
from connleak.model.struct import Struct

PINGS = 9
"""Questions for the clock when a relay has come, one after the other: the fastest answer counts."""
SLOW = 2.0
"""Seconds that a relay may take to read what it is sent."""
AGAIN = 30.0
"""Seconds until a relay's clock is asked for again."""
RELAYS = 256
"""Relays that may be connected at once."""
CHANNELS = 10_000
"""Processes that one relay may speak for at once."""
Ports = Annotated[
    dict[Pid, Annotated[list[Annotated[int, Meta(ge=0, lt=65536)]], Meta(max_length=65536)]], Meta(max_length=CHANNELS)
]


class Own(Struct, frozen=True, kw_only=True):
    """What a relay says itself, on channel 0."""

    mac: str | None = None
    """Shows that it knows the secret."""
    host: str = ""
    word: str = ""
    cwd: str = "/"
    pong: Seconds | None = None
    at: Seconds = 0.0
    ports: Ports | None = None
    gone: int | None = None
    """The channel of a process that has ended."""
    stopped: str | None = None
    """What ended a thread of the relay's."""


_own = msgspec.json.Decoder(Own)


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
        self._frames = Frames(UNKNOWN)
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
        self.stopped = ""
        """What ended a thread over there, once."""
        self.lost = False
        """Whether it does not read what it is sent, or is gone."""
        self.send(told(word=self._word))

    def send(self, data: bytes) -> None:
        """Sends a frame whole; raises OSError when the relay is gone, or does not read."""
        with self._lock:
            if self.lost:
                raise ConnectionError("the relay does not read")
            try:
                self.socket.sendall(data)
            except OSError:
                self.lost = True  # after half a frame nothing that follows would be understood
                raise

    def receive(self, number_of: Callable[[str], int]) -> list[tuple[Channel, bytes]]:
        """Returns what its processes said; an empty payload is one that ended.

        Raises OSError at its end, ValueError or Nonsense at what none of ours says. `number_of` gives a host that has
        shown the secret its number.
        """
        data = self.socket.recv(1 << 18 if self.host else UNKNOWN)
        if not data:
            raise ConnectionError("the relay is gone")
        found = []
        for number, payload in self._frames.feed(data):
            if number == 0:
                found += self._take(decoded(_own, payload), number_of)
            elif not self.host:
                raise ValueError("a relay that has not shown the secret")
            else:
                found.append((self._channel(number), payload))
        return found

    def _channel(self, number: int) -> Channel:
        channel = self.channels.get(number)
        if channel is None:
            if len(self.channels) >= CHANNELS:
                raise ValueError(f"a relay with more than {CHANNELS} processes")
            channel = self.channels[number] = Channel(self, number)
        return channel

    def _take(self, said: Own, number_of: Callable[[str], int]) -> list[tuple[Channel, bytes]]:
        if not self.host:
            if said.mac is None:
                raise ValueError("a relay that has not shown the secret")
            self._welcome_in(said, said.mac, number_of)
        elif said.pong is not None:
            self._pong(said.pong, said.at)
        elif said.ports is not None:
            self.ports = said.ports
        elif said.stopped is not None:
            self.stopped = said.stopped[:300]
        elif said.gone is not None:
            channel = self.channels.pop(said.gone, None)
            return [(channel, b"")] if channel is not None else []
        return []

    def _welcome_in(self, said: Own, shown: str, number_of: Callable[[str], int]) -> None:
        """Takes in a relay that shows the secret, and shows it in turn; raises ValueError at another one."""
        if not shows(mac(self._secret, "relay", self._word, said.word), shown):
            raise ValueError("a relay with another secret")
        self.host = said.host[:60] or "host"
        self.number = number_of(self.host)
        self.cwd = said.cwd.rstrip("/") + "/"
        self._frames.largest = LARGEST
        self.send(told(welcome=mac(self._secret, "collector", self._word, said.word), **self._welcome))
        self.ping()

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
        self.door = Door(listener, RELAYS, WAITING)
        self._secret = secret
        self._welcome = welcome
        self._hosts: list[str] = []
        self.relays: dict[socket.socket, Relay] = {}

    def accept(self) -> socket.socket | None:
        """Returns the connection of a relay that comes in, None when it is gone already, or there are too many."""
        connection = self.door.accept()
        if connection is None:
            return None
        try:
            self.relays[connection] = Relay(connection, self._secret, self._welcome)
        except OSError:
            self.door.gone(connection)
            connection.close()
            return None
        return connection

    def receive(self, connection: socket.socket) -> Told:
        """Returns what a relay said; one that is gone or speaks nonsense is forgotten, with all its processes."""
        relay = self.relays[connection]
        try:
            said = Told(relay.receive(self._number_of))
        except (OSError, ValueError, Nonsense) as error:
            return self.forget(connection, "" if isinstance(error, OSError) else str(error))
        if relay.host:
            self.door.shown(connection)
        return said

    def forget(self, connection: socket.socket, why: str = "") -> Told:
        """Returns the end of a relay and all its processes."""
        relay = self.relays.pop(connection)
        self.door.gone(connection)
        return Told([(channel, b"") for channel in relay.channels.values()], True, why)

    def _number_of(self, host: str) -> int:
        if host not in self._hosts:
            self._hosts.append(host)
        return self._hosts.index(host) + 1

    def keep_time(self) -> dict[socket.socket, str]:
        """Asks for clocks again; returns the relays to be sent away now, and why."""
        late = dict.fromkeys(self.door.overdue(), "one that has not shown the secret")
        for connection, relay in list(self.relays.items()):
            with contextlib.suppress(OSError):
                relay.keep_time()
            if relay.lost:
                late[connection] = "one that does not read"
        return late

    def stopped(self) -> list[tuple[str, str]]:
        """Returns (host, why) of each relay one of whose threads has ended by an error since the last time."""
        found = [(relay.host, relay.stopped) for relay in self.relays.values() if relay.stopped]
        for relay in self.relays.values():
            relay.stopped = ""
        return found

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
