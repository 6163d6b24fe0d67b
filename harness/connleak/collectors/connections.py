"""The connections to the probes of the app's processes: accepting, authenticating, receiving, closing.

Everything received is authenticated first, then decoded into the types of `schema.py`. What is rejected is counted,
and noted once per kind.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from connleak.collectors import schema
from connleak.collectors.authentication import matches
from connleak.collectors.listener import Listener
from connleak.collectors.probe_connection import Channel, ProbeConnection
from connleak.collectors.relay_connection import RemoteProbe
from connleak.collectors.relay_server import RelayServer
from connleak.collectors.schema import MAX_HELLO, MAX_MESSAGE, MAX_TEXT, Hello, Message
from connleak.model.plan import Plan
from connleak.model.recording import Note
from connleak.processes.decoding import InvalidMessage
from connleak.processes.sockets import is_same_user, listen_local
from connleak.processes.threads import Supervised, stopped
from connleak.recording.reader import EventLine
from connleak.recording.redaction import hidden
from connleak.recording.writer import Writer

MAX_INVALID = 100
"""Invalid messages of one process, after which it is disconnected."""
MAX_IN_A_ROW = 50
"""Messages received from one process before the others' turn."""


class ProbeConnections:
    """Listens on a socket in the scratch folder, in a thread of its own, until it is closed.

    `on_message` is called with each message of a process, `on_disconnect` after its last, both in that thread;
    `on_failure` when an error has ended the thread, so that nothing is received any more.
    """

    def __init__(
        self,
        writer: Writer,
        path: Path,
        origin: float,
        on_message: Callable[[ProbeConnection, Message], None],
        on_disconnect: Callable[[ProbeConnection], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._origin = origin
        self._on_message = on_message
        self._on_disconnect = on_disconnect
        self._on_failure = on_failure
        self.path = path
        self.token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._by_pid: dict[int, ProbeConnection] = {}
        self._by_channel: dict[Channel, ProbeConnection] = {}
        self._rejected: Counter[str] = Counter()
        self.relays: RelayServer | None = None
        self._stop = False
        self._thread = Supervised("collector", self._run, self._stopped)

    def __enter__(self) -> ProbeConnections:
        self._listener = Listener(listen_local(self.path))
        self._selector = selectors.DefaultSelector()
        self._listener.register(self._selector, self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        for why, times in self._rejected.items():
            if times > 1:
                self.note(f"{times} times: {why}", refused=times)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        for listener in self._listeners():
            listener.socket.close()
        self._selector.close()

    def listen(self, listening: socket.socket, secret: str, plan: Plan) -> None:
        """Accept relays of other hosts too, on a listening TCP socket, which is closed at the end."""
        self.relays = RelayServer(listening, secret, {"probe": plan.probe, "gc": plan.gc})
        self.relays.listener.register(self._selector, self._accept_relay)

    @property
    def failed(self) -> bool:
        """Whether an error has ended the thread."""
        return self._thread.failed

    def living(self) -> list[ProbeConnection]:
        """Return the connected processes."""
        with self._lock:
            return list(self._by_pid.values())

    def now(self) -> float:
        """Return the time in seconds of the recording."""
        return round(time.monotonic() - self._origin, 4)

    def note(self, text: str, **facts: object) -> None:
        self._writer.append("notes", Note(self.now(), "probe", text, facts))

    def reject(self, why: str, detail: str = "") -> None:
        """Count a rejection, and note the first of its kind: a flood of them must not fill the disk."""
        self._rejected[why] += 1
        if self._rejected[why] == 1:
            self.note(f"{why}: {detail}" if detail else why)

    def handle(self, channel: Channel, data: bytes) -> bool:
        """Handle a message; return False if the channel is to be closed."""
        probe = self._by_channel.get(channel)
        try:
            if probe is None:
                return self._authenticate(channel, schema.hello(data))
            self._on_message(probe, schema.message(data))
            return True
        except InvalidMessage as error:
            self.reject("an invalid first message" if probe is None else "an invalid message", str(error))
        if probe is None:
            return False
        probe.lost += 1
        probe.invalid += 1
        if probe.invalid == MAX_INVALID:
            text = f"process {probe.pid} was disconnected: {MAX_INVALID} of its messages were invalid"
            self.note(text, process=probe.pid, garbage=MAX_INVALID)
        return probe.invalid < MAX_INVALID

    def _authenticate(self, channel: Channel, hello: Hello) -> bool:
        """Add a process after its first message; return False if its token is wrong."""
        pid, command = hello.hello, hidden(hello.command[:MAX_TEXT])
        if isinstance(channel, RemoteProbe):  # its relay checks the token, and has proved that it knows the secret
            relay = channel.relay
            probe = ProbeConnection(relay.process_of(pid), command, channel, host=relay.host, relay=relay)
        elif matches(self.token, hello.token):
            probe = ProbeConnection(pid, command, channel)
            self._listener.set_authenticated(channel)
        else:
            self.reject("a process with a wrong token was disconnected")
            return False
        with self._lock:
            self._by_pid[probe.pid] = probe
        self._by_channel[channel] = probe
        detail = f"Python {hello.python[:20]}, parent {hello.parent}"
        detail += f", on {probe.host}" if probe.host else ""
        self._writer.append("events", EventLine(self.now(), "hello", probe.pid, detail=detail))
        return True

    def _disconnect(self, channel: Channel) -> None:
        """Remove a process that has ended or closed its connection."""
        probe = self._by_channel.pop(channel, None)
        if probe is None:
            return
        self._on_disconnect(probe)
        with self._lock:
            if self._by_pid.get(probe.pid) is probe:
                del self._by_pid[probe.pid]
        self._writer.append("events", EventLine(self.now(), "bye", probe.pid))

    # the thread

    def _stopped(self, thread: str, error: BaseException) -> None:
        self._writer.append("notes", stopped(self.now(), thread, error))
        self._on_failure()

    def _listeners(self) -> list[Listener]:
        return [self._listener, *([self.relays.listener] if self.relays else [])]

    def _run(self) -> None:
        while not self._stop:
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj.fileno() >= 0:  # another callback of this turn may have closed it
                    key.data(key.fileobj)
            self._maintain()

    def _maintain(self) -> None:
        """Close connections that do not authenticate or do not read; note what could not be accepted."""
        for connection in self._listener.overdue():
            self._close(connection)
            self.reject("a connection that did not authenticate was closed")
        if self.relays is not None:
            for relay, why in self.relays.maintain().items():
                self._close_relay(relay, why)
        for listener in self._listeners():
            if listener.trouble:
                self.reject(f"a connection could not be accepted: {listener.trouble}")
                listener.trouble = ""

    def _accept(self, _: socket.socket) -> None:
        connection = self._listener.accept()
        if connection is not None and not is_same_user(connection):
            self._listener.forget(connection)
            connection.close()
            self.reject("a connection of another user was closed")
        elif connection is not None:
            self._selector.register(connection, selectors.EVENT_READ, self._receive)

    def _receive(self, connection: socket.socket) -> None:
        for _ in range(MAX_IN_A_ROW):
            try:
                # one byte more than a first message may have, so that a longer one is detected
                data = connection.recv(MAX_MESSAGE if connection in self._by_channel else MAX_HELLO + 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data or not self.handle(connection, data):
                self._close(connection)
                return

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        self._listener.forget(connection)
        self._disconnect(connection)
        connection.close()

    def _accept_relay(self, _: socket.socket) -> None:
        assert self.relays is not None
        relay = self.relays.accept()
        if relay is not None:
            self._selector.register(relay, selectors.EVENT_READ, self._receive_relay)

    def _receive_relay(self, relay: socket.socket) -> None:
        """Handle the messages that a relay passes on; close it with all its processes when it has ended."""
        assert self.relays is not None
        received = self.relays.receive(relay)
        for channel, data in received.messages:
            if not data:
                self._disconnect(channel)
            elif not self.handle(channel, data):
                self._disconnect(channel)
                channel.close()
        for host, why in self.relays.pop_stopped():
            self._writer.append("notes", stopped(self.now(), f"relay on {host}", why))
        if received.ended:
            self._selector.unregister(relay)
            relay.close()
        if received.why:
            self.reject(f"a relay was disconnected: {received.why}")

    def _close_relay(self, relay: socket.socket, why: str) -> None:
        assert self.relays is not None
        for channel, _ in self.relays.remove(relay).messages:
            self._disconnect(channel)
        self._selector.unregister(relay)
        relay.close()
        self.reject(f"a relay was disconnected: {why}")
