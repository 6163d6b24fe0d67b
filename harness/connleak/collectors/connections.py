"""The sockets on which the probes of the app's processes connect: accepting, receiving, closing.

Everything received is authenticated first, then decoded into the types of `schema.py`.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from connleak.collectors.listener import Listener
from connleak.collectors.probe_connection import ProbeConnection
from connleak.collectors.probe_registry import ProbeRegistry
from connleak.collectors.relay_server import RelayServer
from connleak.collectors.schema import MAX_HELLO, MAX_MESSAGE, Message
from connleak.model.plan import Plan
from connleak.processes.sockets import is_same_user, listen_local
from connleak.processes.threads import Supervised, stopped
from connleak.recording.writer import Writer

MAX_IN_A_ROW = 50
"""Messages received from one process before the others' turn."""


class ProbeConnections(ProbeRegistry):
    """A registry that listens on a socket in the scratch folder, in a thread of its own, until it is closed.

    The registry's callbacks run in that thread; `on_failure` when an error has ended it: then no message is
    received any more.
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
        super().__init__(writer, origin, on_message, on_disconnect)
        self._on_failure = on_failure
        self.path = path
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
        self.note_repeated()
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
                data = connection.recv(MAX_MESSAGE if self.is_authenticated(connection) else MAX_HELLO + 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data or not self.handle(connection, data):
                self._close(connection)
                return
            self._listener.set_authenticated(connection)

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        self._listener.forget(connection)
        self.disconnect(connection)
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
                self.disconnect(channel)
            elif not self.handle(channel, data):
                self.disconnect(channel)
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
            self.disconnect(channel)
        self._selector.unregister(relay)
        relay.close()
        self.reject(f"a relay was disconnected: {why}")
