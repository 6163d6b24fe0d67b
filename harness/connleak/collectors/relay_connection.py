"""The connection of one relay: its authentication, the offset of its clock, and its processes."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from connleak.collectors.authentication import mac, matches
from connleak.collectors.framing import MAX_FRAME, MAX_UNAUTHENTICATED_FRAME, FrameReader, control_frame, frame
from connleak.collectors.schema import Pid, Seconds
from connleak.model.recording import HOST
from connleak.model.struct import Struct
from connleak.processes.decoding import decode

PINGS = 9
"""Clock readings, one after the other, when a relay has connected: the fastest answer counts."""
SEND_TIMEOUT = 2.0
"""Seconds that a relay may take to read what it is sent."""
CLOCK_INTERVAL = 30.0
"""Seconds until a relay's clock is read again."""
MAX_PROCESSES = 10_000
"""Processes of one relay at once."""
Ports = Annotated[
    dict[Pid, Annotated[list[Annotated[int, Meta(ge=0, lt=65536)]], Meta(max_length=65536)]],
    Meta(max_length=MAX_PROCESSES),
]


class ControlMessage(Struct, frozen=True, kw_only=True):
    """A relay's message on the control channel."""

    mac: str | None = None
    """The proof that it has the secret."""
    host: str = ""
    challenge: str = ""
    cwd: str = "/"
    pong: Seconds | None = None
    at: Seconds = 0.0
    ports: Ports | None = None
    gone: int | None = None
    """The channel of a process that has ended."""
    stopped: str | None = None
    """The error that ended a thread of the relay's."""


_control_message = msgspec.json.Decoder(ControlMessage)


class RemoteProbe:
    """One process behind a relay, with a socket's `send` and `close`."""

    def __init__(self, relay: RelayConnection, number: int) -> None:
        self.relay = relay
        self.number = number

    def send(self, data: bytes) -> None:
        self.relay.send(frame(self.number, data))

    def close(self) -> None:
        self.relay.probes.pop(self.number, None)


class RelayConnection:
    """The connection of a `connleak probe --collector` on some host."""

    def __init__(self, connection: socket.socket, secret: str, welcome: dict[str, Any]) -> None:
        connection.settimeout(SEND_TIMEOUT)
        self.socket = connection
        self._lock = threading.Lock()
        self._secret = secret
        self._welcome = welcome
        self._frames = FrameReader(MAX_UNAUTHENTICATED_FRAME)
        self._challenge = secrets.token_hex(16)
        self._pings = 0
        self._best = float("inf")
        self._pinged = 0.0
        self.offset = 0.0
        """Seconds to add to the host's monotonic clock to get this machine's."""
        self.host = ""
        """The host's name; empty until it has authenticated."""
        self.cwd = "/"
        self.number = 0
        self.ports: dict[int, list[int]] = {}
        """{pid there: its local TCP ports}, as reported last."""
        self.probes: dict[int, RemoteProbe] = {}
        self.stopped = ""
        """The error that ended a thread of the relay's, until it is read."""
        self.lost = False
        """Whether it does not read what it is sent, or is gone."""
        self.send(control_frame(challenge=self._challenge))

    def send(self, data: bytes) -> None:
        """Send a frame whole; raise OSError if the relay is gone or does not read."""
        with self._lock:
            if self.lost:
                raise ConnectionError("the relay does not read")
            try:
                self.socket.sendall(data)
            except OSError:
                self.lost = True  # after half a frame the rest cannot be parsed
                raise

    def receive(self, number_of: Callable[[str], int]) -> list[tuple[RemoteProbe, bytes]]:
        """Return its processes' messages; an empty one means that the process has ended.

        Raise OSError at the end of the connection, and ValueError or InvalidMessage if the protocol is violated.
        `number_of` numbers a host that has authenticated.
        """
        data = self.socket.recv(1 << 18 if self.host else MAX_UNAUTHENTICATED_FRAME)
        if not data:
            raise ConnectionError("the relay is gone")
        found = []
        for number, payload in self._frames.feed(data):
            if number == 0:
                found += self._handle_control(decode(_control_message, payload), number_of)
            elif not self.host:
                raise ValueError("it did not authenticate")
            else:
                found.append((self._probe(number), payload))
        return found

    def _probe(self, number: int) -> RemoteProbe:
        probe = self.probes.get(number)
        if probe is None:
            if len(self.probes) >= MAX_PROCESSES:
                raise ValueError(f"it has more than {MAX_PROCESSES} processes")
            probe = self.probes[number] = RemoteProbe(self, number)
        return probe

    def _handle_control(
        self, message: ControlMessage, number_of: Callable[[str], int]
    ) -> list[tuple[RemoteProbe, bytes]]:
        if not self.host:
            if message.mac is None:
                raise ValueError("it did not authenticate")
            self._authenticate(message, message.mac, number_of)
        elif message.pong is not None:
            self._handle_pong(message.pong, message.at)
        elif message.ports is not None:
            self.ports = message.ports
        elif message.stopped is not None:
            self.stopped = message.stopped[:300]
        elif message.gone is not None:
            probe = self.probes.pop(message.gone, None)
            return [(probe, b"")] if probe is not None else []
        return []

    def _authenticate(self, message: ControlMessage, proof: str, number_of: Callable[[str], int]) -> None:
        """Verify the relay's proof and send the collector's; raise ValueError if it is wrong."""
        if not matches(mac(self._secret, "relay", self._challenge, message.challenge), proof):
            raise ValueError("it has another secret")
        self.host = message.host[:60] or "host"
        self.number = number_of(self.host)
        self.cwd = message.cwd.rstrip("/") + "/"
        self._frames.max_frame = MAX_FRAME
        proof = mac(self._secret, "collector", self._challenge, message.challenge)
        self.send(control_frame(welcome=proof, **self._welcome))
        self.ping()

    def ping(self) -> None:
        self._pinged = time.monotonic()
        self.send(control_frame(ping=self._pinged))

    def _handle_pong(self, sent: float, remote: float) -> None:
        """Compute the offset, on the assumption that the remote clock was read halfway between ping and pong."""
        now = time.monotonic()
        self._pings += 1
        if now - sent <= self._best:
            self._best = now - sent
            self.offset = (sent + now) / 2 - remote
        if self._pings < PINGS:
            self.ping()

    def ping_if_due(self) -> None:
        """Read the clock again after a while, because clocks drift."""
        if self.host and time.monotonic() - self._pinged > CLOCK_INTERVAL:
            self._pings, self._best = 0, float("inf")
            self.ping()

    def process_of(self, pid: int) -> int:
        """Return the number of a process in the recording: pids of two hosts may be the same."""
        return self.number * HOST + pid
