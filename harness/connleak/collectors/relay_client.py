"""The app's side of a collector on another host: a local socket for its probes, and one connection that passes all on.

The app never waits for it: what the collector does not take is dropped by the probe, which counts it.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from connleak.collectors.doors import Door, is_own
from connleak.collectors.framing import HEAD, LARGEST, UNKNOWN, Frames, local_listener, mac, packed, shows, told
from connleak.collectors.messages import HELLO, Nonsense, Seconds, decoded, hello
from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.processes.threads import Supervised

PATIENCE = 5.0
LAST_WORDS = 1.0
"""Seconds in which the collector may still read what waits for it when the command has ended."""
ENOUGH = 4 << 20
"""Bytes that wait for the collector, beyond which no probe is read."""
FAR_TOO_MUCH = 16 << 20


class Said(Struct, frozen=True, kw_only=True):
    """What a collector says on the relay's own channel."""

    word: str = ""
    welcome: str = ""
    probe: Literal["pool", "queries", "off"] = "pool"
    gc: Literal["normal", "off", "eager"] = "normal"
    ping: Seconds | None = None
    ports: bool | int = False


_said = msgspec.json.Decoder(Said)


class Relay:
    """Connected to a collector until it is closed; `environment` makes the probes of child processes speak with it.

    Nothing here waits for the collector but the greeting: while it does not read, the probes are not read either.
    """

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
        self._welcome = Said()
        self._waiting = bytearray()
        """What the collector has not read yet."""
        self._full = False
        self._lock = threading.Lock()
        self._ports: Supervised | None = None
        self._thread = Supervised("relay", self._run, self._stopped)

    def __enter__(self) -> Relay:
        host, port = self._address
        try:
            self._line = socket.create_connection(self._address, timeout=PATIENCE)
            try:
                self._greet(time.monotonic() + PATIENCE)
            except BaseException:
                self._line.close()
                raise
        except (OSError, ValueError, Nonsense) as error:
            hint = "connleak watch URL --listen HOST:PORT, with the same CONNLEAK_SECRET"
            raise Error(f"no collector at {host}:{port}: {error}", hint, exit_code=4) from None
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line.setblocking(False)
        self._door = Door(local_listener(self.path))
        self._selector = selectors.DefaultSelector()
        self._probes = selectors.EpollSelector()
        self._selector.register(self._line, selectors.EVENT_READ)
        self._selector.register(self._probes, selectors.EVENT_READ)
        self._door.register(self._probes, self._knocks)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join(PATIENCE)
        self._let_go()
        self._line.close()
        self._selector.close()
        self._probes.close()

    def environment(self) -> dict[str, str]:
        """Returns the variables that make a probe find this relay, and watch as the collector wishes."""
        return {
            "CONNLEAK_SOCKET": str(self.path),
            "CONNLEAK_TOKEN": self._token,
            "CONNLEAK_PROBE": self._welcome.probe,
            "CONNLEAK_GC": self._welcome.gc,
        }

    def _greet(self, deadline: float) -> None:
        """Shows the secret, and has it shown."""
        ours, theirs = secrets.token_hex(16), self._own(deadline).word
        shown = mac(self._secret, "relay", theirs, ours)
        self._line.sendall(told(mac=shown, host=self._name, word=ours, cwd=str(Path.cwd())))
        self._welcome = self._own(deadline)
        if not shows(mac(self._secret, "collector", theirs, ours), self._welcome.welcome):
            raise ValueError("it does not know the secret")

    def _own(self, deadline: float) -> Said:
        """Return the next message of the relay's own channel; no byte beyond it is read."""
        length, channel = HEAD.unpack(self._exactly(HEAD.size, deadline))
        if channel or length > UNKNOWN:
            raise ValueError(f"a frame of {length} bytes on channel {channel} instead of a greeting")
        return decoded(_said, self._exactly(length, deadline))

    def _exactly(self, count: int, deadline: float) -> bytes:
        """Return so many bytes; raise TimeoutError when they are not there by the deadline."""
        data = b""
        while len(data) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._line.settimeout(left)
            part = self._line.recv(count - len(data))
            if not part:
                raise ValueError("it closed the connection: is the secret the same?")
            data += part
        return data

    # the thread

    def _stopped(self, thread: str, error: BaseException) -> None:
        """Tells the collector that an error has ended a thread; without the relay's own, the probes are let go."""
        self._say(told(stopped=f"{type(error).__name__}: {error}"[:300]))
        if thread == "relay":
            with contextlib.suppress(OSError):
                self._flush()
            self._line.close()
            self._let_go()

    def _run(self) -> None:
        while not self._lost and not self._stop:
            self._turn(0.1)
        deadline = time.monotonic() + LAST_WORDS
        while self._waiting and not self._lost and time.monotonic() < deadline:
            self._turn(0.05)
        if self._lost:
            self._let_go()

    def _turn(self, timeout: float) -> None:
        with self._lock:
            writing = selectors.EVENT_WRITE if self._waiting else 0
        self._selector.modify(self._line, selectors.EVENT_READ | writing)
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._probes:
                for probe, _ in self._probes.select(0):
                    probe.data(probe.fileobj)
            else:
                if events & selectors.EVENT_WRITE:
                    self._flush()
                if events & selectors.EVENT_READ:
                    self._take()
        for stranger in self._door.overdue():
            self._close(stranger)
        self._keep_pace()

    def _keep_pace(self) -> None:
        """Reads no probe while very much waits for the collector: then each probe drops, and counts what it drops."""
        full = len(self._waiting) > ENOUGH
        if full and not self._full:
            self._selector.unregister(self._probes)
        elif self._full and not full:
            self._selector.register(self._probes, selectors.EVENT_READ)
        self._full = full

    def _knocks(self, listener: socket.socket) -> None:
        channel = self._door.accept()
        if channel is not None:
            self._probes.register(channel, selectors.EVENT_READ, self._begin)

    def _begin(self, channel: socket.socket) -> None:
        """Takes a process in whose first message has our token."""
        try:
            first = channel.recv(HELLO + 1)
            known = is_own(channel) and hmac.compare_digest(hello(first).token.encode(), self._token.encode())
        except (OSError, Nonsense):
            known = False
        if not known:
            self._close(channel)
            return
        self._door.shown(channel)
        self._count += 1
        number = self._count
        self._channels[number] = channel
        self._probes.modify(channel, selectors.EVENT_READ, lambda channel: self._pass_on(number, channel))
        self._say(packed(number, first))

    def _pass_on(self, number: int, channel: socket.socket) -> None:
        try:
            data = channel.recv(LARGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._say(packed(number, data))
            return
        del self._channels[number]
        self._close(channel)
        self._say(told(gone=number))

    def _close(self, channel: socket.socket) -> None:
        self._probes.unregister(channel)
        self._door.gone(channel)
        channel.close()

    def _say(self, data: bytes) -> None:
        """Puts a frame up for sending; a collector for which far too much waits is given up."""
        with self._lock:
            self._waiting += data
            self._lost = self._lost or len(self._waiting) > FAR_TOO_MUCH

    def _flush(self) -> None:
        with self._lock:
            try:
                del self._waiting[: self._line.send(self._waiting)]
            except BlockingIOError:
                return
            except OSError:
                self._lost = True

    def _take(self) -> None:
        try:
            data = self._line.recv(1 << 16)
            found = self._frames.feed(data)
            for number, payload in found:
                self._answer(number, payload)
        except BlockingIOError:
            return
        except (OSError, ValueError, Nonsense):
            data = b""
        self._lost = self._lost or not data

    def _answer(self, number: int, payload: bytes) -> None:
        if number:
            channel = self._channels.get(number)
            if channel is not None:
                with contextlib.suppress(OSError):
                    channel.send(payload)
            return
        said = decoded(_said, payload)
        if said.ping is not None:
            self._say(told(pong=said.ping, at=time.monotonic()))
        elif said.ports and not (self._ports and self._ports.is_alive()):
            # through the sockets of a busy host that takes a second: others must not wait for it
            self._ports = Supervised("relay's ports", lambda: self._say(told(ports=local_ports())), self._stopped)
            self._ports.start()

    def _let_go(self) -> None:
        """Lets the probes go: the app goes on as if there were no collector."""
        for key in list(self._probes.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            self._probes.unregister(key.fileobj)
            key.fileobj.close()
        self._door.listener.close()
        self._channels.clear()


def local_ports() -> dict[int, list[int]]:
    """Returns {pid: its local TCP ports} of this process's descendants."""
    mine = {process.pid for process in psutil.Process().children(recursive=True)}
    found: dict[int, list[int]] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.pid in mine and connection.laddr:
            found.setdefault(connection.pid, []).append(connection.laddr.port)
    return found
