"""The app's side of a collector on another host: accepts local probes, and passes their messages on.

The app never waits for it: if the collector does not keep up, the probes drop events and count them.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from connleak.collectors.authentication import mac, matches
from connleak.collectors.framing import HEAD, MAX_UNAUTHENTICATED_FRAME, FrameReader, control_frame, frame
from connleak.collectors.listener import Listener
from connleak.collectors.schema import MAX_HELLO, MAX_MESSAGE, Seconds, hello
from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.processes.decoding import InvalidMessage, decode
from connleak.processes.sockets import is_same_user, listen_local
from connleak.processes.threads import Supervised

HANDSHAKE_TIMEOUT = 5.0
"""Seconds for the collector's greeting."""
FINAL_SEND_TIMEOUT = 1.0
"""Seconds in which the collector may still read queued data when the command has ended."""
PAUSE_READING_AT = 4 << 20
"""Queued bytes beyond which no probe is read."""
GIVE_UP_AT = 16 << 20
"""Queued bytes beyond which the collector is given up."""


class CollectorMessage(Struct, frozen=True, kw_only=True):
    """A collector's message on the control channel."""

    challenge: str = ""
    welcome: str = ""
    """Its proof that it has the secret."""
    probe: Literal["pool", "queries", "off"] = "pool"
    gc: Literal["normal", "off", "eager"] = "normal"
    ping: Seconds | None = None
    ports: bool | int = False


_collector_message = msgspec.json.Decoder(CollectorMessage)


class RelayClient:
    """A connection to a collector until it is closed; `environment` makes the probes of child processes connect to it.

    Only the handshake waits for the collector: while it does not read, the probes are not read either.
    """

    def __init__(self, scratch: Path, address: tuple[str, int], secret: str, name: str) -> None:
        self.path = scratch / "probe.sock"
        self._address = address
        self._secret = secret
        self._name = name
        self._token = secrets.token_hex(16)
        self._frames = FrameReader()
        self._channels: dict[int, socket.socket] = {}
        self._count = 0
        self._stop = False
        self._lost = False
        self._welcome = CollectorMessage()
        self._queued = bytearray()
        """Data that the collector has not read yet."""
        self._paused = False
        self._lock = threading.Lock()
        self._ports: Supervised | None = None
        self._thread = Supervised("relay", self._run, self._stopped)

    def __enter__(self) -> RelayClient:
        host, port = self._address
        try:
            self._connection = socket.create_connection(self._address, timeout=HANDSHAKE_TIMEOUT)
            try:
                self._handshake(time.monotonic() + HANDSHAKE_TIMEOUT)
            except BaseException:
                self._connection.close()
                raise
        except (OSError, ValueError, InvalidMessage) as error:
            hint = "connleak watch URL --listen HOST:PORT, with the same CONNLEAK_SECRET"
            raise Error(f"no collector at {host}:{port}: {error}", hint, exit_code=4) from None
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.setblocking(False)
        self._listener = Listener(listen_local(self.path))
        self._selector = selectors.DefaultSelector()
        self._probes = selectors.EpollSelector()
        self._selector.register(self._connection, selectors.EVENT_READ)
        self._selector.register(self._probes, selectors.EVENT_READ)
        self._listener.register(self._probes, self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join(HANDSHAKE_TIMEOUT)
        self._disconnect()
        self._connection.close()
        self._selector.close()
        self._probes.close()

    def environment(self) -> dict[str, str]:
        """Return the variables that make a probe connect to this relay, with the collector's settings."""
        return {
            "CONNLEAK_SOCKET": str(self.path),
            "CONNLEAK_TOKEN": self._token,
            "CONNLEAK_PROBE": self._welcome.probe,
            "CONNLEAK_GC": self._welcome.gc,
        }

    def _handshake(self, deadline: float) -> None:
        """Prove that this end has the secret, and verify the collector's proof."""
        collectors, own = self._control_message(deadline).challenge, secrets.token_hex(16)
        proof = mac(self._secret, "relay", collectors, own)
        self._connection.sendall(control_frame(mac=proof, host=self._name, challenge=own, cwd=str(Path.cwd())))
        self._welcome = self._control_message(deadline)
        if not matches(mac(self._secret, "collector", collectors, own), self._welcome.welcome):
            raise ValueError("it does not have the secret")

    def _control_message(self, deadline: float) -> CollectorMessage:
        """Return the next message of the control channel, without reading a byte beyond it."""
        length, channel = HEAD.unpack(self._exactly(HEAD.size, deadline))
        if channel or length > MAX_UNAUTHENTICATED_FRAME:
            raise ValueError(f"a frame of {length} bytes on channel {channel} instead of a greeting")
        return decode(_collector_message, self._exactly(length, deadline))

    def _exactly(self, count: int, deadline: float) -> bytes:
        """Return exactly `count` bytes; raise TimeoutError if they have not come by the deadline."""
        data = b""
        while len(data) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._connection.settimeout(left)
            part = self._connection.recv(count - len(data))
            if not part:
                raise ValueError("it closed the connection: is the secret the same?")
            data += part
        return data

    # the thread

    def _stopped(self, thread: str, error: BaseException) -> None:
        """Report to the collector that an error has ended a thread; if it was the relay's, disconnect the probes."""
        self._send(control_frame(stopped=f"{type(error).__name__}: {error}"[:300]))
        if thread == "relay":
            with contextlib.suppress(OSError):
                self._flush()
            self._connection.close()
            self._disconnect()

    def _run(self) -> None:
        while not self._lost and not self._stop:
            self._poll(0.1)
        deadline = time.monotonic() + FINAL_SEND_TIMEOUT
        while self._queued and not self._lost and time.monotonic() < deadline:
            self._poll(0.05)
        if self._lost:
            self._disconnect()

    def _poll(self, timeout: float) -> None:
        with self._lock:
            writing = selectors.EVENT_WRITE if self._queued else 0
        self._selector.modify(self._connection, selectors.EVENT_READ | writing)
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._probes:
                for probe, _ in self._probes.select(0):
                    probe.data(probe.fileobj)
            else:
                if events & selectors.EVENT_WRITE:
                    self._flush()
                if events & selectors.EVENT_READ:
                    self._receive()
        for connection in self._listener.overdue():
            self._close(connection)
        self._limit_queue()

    def _limit_queue(self) -> None:
        """Stop reading the probes while the queue is long: each probe then drops events and counts them."""
        full = len(self._queued) > PAUSE_READING_AT
        if full and not self._paused:
            self._selector.unregister(self._probes)
        elif self._paused and not full:
            self._selector.register(self._probes, selectors.EVENT_READ)
        self._paused = full

    def _accept(self, _: socket.socket) -> None:
        channel = self._listener.accept()
        if channel is not None:
            self._probes.register(channel, selectors.EVENT_READ, self._authenticate)

    def _authenticate(self, channel: socket.socket) -> None:
        """Accept a process whose first message has this relay's token."""
        try:
            first = channel.recv(MAX_HELLO + 1)
            authentic = is_same_user(channel) and matches(self._token, hello(first).token)
        except (OSError, InvalidMessage):
            authentic = False
        if not authentic:
            self._close(channel)
            return
        self._listener.set_authenticated(channel)
        self._count += 1
        number = self._count
        self._channels[number] = channel
        self._probes.modify(channel, selectors.EVENT_READ, lambda channel: self._pass_on(number, channel))
        self._send(frame(number, first))

    def _pass_on(self, number: int, channel: socket.socket) -> None:
        try:
            data = channel.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._send(frame(number, data))
            return
        del self._channels[number]
        self._close(channel)
        self._send(control_frame(gone=number))

    def _close(self, channel: socket.socket) -> None:
        self._probes.unregister(channel)
        self._listener.forget(channel)
        channel.close()

    def _send(self, data: bytes) -> None:
        """Queue a frame; if the queue is too long, give the collector up."""
        with self._lock:
            self._queued += data
            self._lost = self._lost or len(self._queued) > GIVE_UP_AT

    def _flush(self) -> None:
        with self._lock:
            try:
                del self._queued[: self._connection.send(self._queued)]
            except BlockingIOError:
                return
            except OSError:
                self._lost = True

    def _receive(self) -> None:
        try:
            data = self._connection.recv(1 << 16)
            for number, payload in self._frames.feed(data):
                self._handle(number, payload)
        except BlockingIOError:
            return
        except (OSError, ValueError, InvalidMessage):
            data = b""
        self._lost = self._lost or not data

    def _handle(self, number: int, payload: bytes) -> None:
        if number:
            channel = self._channels.get(number)
            if channel is not None:
                with contextlib.suppress(OSError):
                    channel.send(payload)
            return
        message = decode(_collector_message, payload)
        if message.ping is not None:
            self._send(control_frame(pong=message.ping, at=time.monotonic()))
        elif message.ports and not (self._ports and self._ports.is_alive()):
            # on a busy host this takes a second, so it has a thread of its own
            self._ports = Supervised("relay's ports", self._report_ports, self._stopped)
            self._ports.start()

    def _report_ports(self) -> None:
        self._send(control_frame(ports=local_ports()))

    def _disconnect(self) -> None:
        """Disconnect the probes: the app continues as if there were no collector."""
        for key in list(self._probes.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            self._probes.unregister(key.fileobj)
            key.fileobj.close()
        self._listener.socket.close()
        self._channels.clear()


def local_ports() -> dict[int, list[int]]:
    """Return {pid: its local TCP ports} of this process's descendants."""
    descendants = {process.pid for process in psutil.Process().children(recursive=True)}
    found: dict[int, list[int]] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.pid in descendants and connection.laddr:
            found.setdefault(connection.pid, []).append(connection.laddr.port)
    return found
