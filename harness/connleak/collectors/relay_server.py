"""The collector's side of probes on other hosts: all relays, and the socket on which they connect."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, NamedTuple

from connleak.collectors.framing import control_frame
from connleak.collectors.listener import MAX_WAITING, Listener
from connleak.collectors.relay_connection import RelayConnection, RemoteProbe
from connleak.processes.decoding import InvalidMessage

MAX_RELAYS = 256
"""Relays that may be connected at once."""


class Received(NamedTuple):
    """The messages of a relay's processes (empty: ended), whether it has ended, and why the collector closed it."""

    messages: list[tuple[RemoteProbe, bytes]]
    ended: bool = False
    why: str = ""


class RelayServer:
    """The relays of a collector."""

    def __init__(self, listening: socket.socket, secret: str, welcome: dict[str, Any]) -> None:
        self.listener = Listener(listening, MAX_RELAYS, MAX_WAITING)
        self._secret = secret
        self._welcome = welcome
        self._hosts: list[str] = []
        self.relays: dict[socket.socket, RelayConnection] = {}

    def accept(self) -> socket.socket | None:
        """Return the connection of a relay, None if it is gone already or there are too many."""
        connection = self.listener.accept()
        if connection is None:
            return None
        try:
            self.relays[connection] = RelayConnection(connection, self._secret, self._welcome)
        except OSError:
            self.listener.forget(connection)
            connection.close()
            return None
        return connection

    def receive(self, connection: socket.socket) -> Received:
        """Return a relay's messages; one that is gone or violates the protocol is removed, with all its processes."""
        relay = self.relays[connection]
        try:
            received = Received(relay.receive(self._number_of))
        except (OSError, ValueError, InvalidMessage) as error:
            return self.remove(connection, "" if isinstance(error, OSError) else str(error))
        if relay.host:
            self.listener.set_authenticated(connection)
        return received

    def remove(self, connection: socket.socket, why: str = "") -> Received:
        """Remove a relay; return the end of all its processes."""
        relay = self.relays.pop(connection)
        self.listener.forget(connection)
        return Received([(probe, b"") for probe in relay.probes.values()], True, why)

    def _number_of(self, host: str) -> int:
        if host not in self._hosts:
            self._hosts.append(host)
        return self._hosts.index(host) + 1

    def maintain(self) -> dict[socket.socket, str]:
        """Read clocks that are due; return the relays to close now, and why."""
        closing = dict.fromkeys(self.listener.overdue(), "it did not authenticate")
        for connection, relay in list(self.relays.items()):
            with contextlib.suppress(OSError):
                relay.ping_if_due()
            if relay.lost:
                closing[connection] = "it does not read"
        return closing

    def pop_stopped(self) -> list[tuple[str, str]]:
        """Return (host, error) of each relay that has reported the end of a thread since the last call."""
        found = [(relay.host, relay.stopped) for relay in self.relays.values() if relay.stopped]
        for relay in self.relays.values():
            relay.stopped = ""
        return found

    def hosts(self) -> list[str]:
        """Return the hosts whose probes are connected."""
        return [relay.host for relay in list(self.relays.values()) if relay.host]

    def ports(self) -> dict[int, int]:
        """Return {local TCP port: process} as reported last, and request a new report; ambiguous ports are left out."""
        found: dict[int, int] = {}
        ambiguous = set()
        for relay in list(self.relays.values()):
            for pid, ports in relay.ports.items():
                ambiguous |= found.keys() & set(ports)
                found.update(dict.fromkeys(ports, relay.process_of(pid)))
            with contextlib.suppress(OSError):
                relay.send(control_frame(ports=1))
        return {port: process for port, process in found.items() if port not in ambiguous}
