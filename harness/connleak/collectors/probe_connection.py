"""One process of the app, as its connected probe reports it, and the sessions of processes that have ended."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from connleak.collectors.relay_connection import RelayConnection, RemoteProbe
from connleak.recording.format import EventLine

MAX_ENDED_SESSIONS = 10_000
"""Ended sessions that still count as the app's: the server may show them longer."""
Channel = socket.socket | RemoteProbe
"""Where a process's messages come from: its own socket, or its channel of a relay's connection."""


@dataclass
class ProbeConnection:
    """A process whose probe is connected and authenticated."""

    pid: int
    command: str
    channel: Channel
    host: str = ""
    relay: RelayConnection | None = None
    """The relay that passes its messages on, if it is on another host."""
    armed: bool = False
    """Whether it has sent events, so that it has a thread to answer queries."""
    out: int = 0
    waiting: int = 0
    dropped: int = 0
    lost: int = 0
    """Messages that were invalid, and facts beyond the limits: they count as dropped."""
    invalid: int = 0
    unwatched: tuple[str, ...] = ()
    threadless: bool = False
    """Whether no thread of the probe runs there between requests: instead of its answers, its events are used."""
    checkouts: dict[int, EventLine] = field(default_factory=dict)
    sessions: set[int] = field(default_factory=set)
    stacks: dict[int, int] = field(default_factory=dict)
    requests: dict[int, str] = field(default_factory=lambda: {0: ""})

    def process_of(self, pid: int) -> int:
        """Return the recording's number of a process on the same host."""
        return self.relay.process_of(pid) if self.relay else pid


class EndedSessions:
    """The newest sessions that have ended, or whose process has."""

    def __init__(self) -> None:
        self._backends: dict[int, None] = {}

    def add(self, *backends: int) -> None:
        for backend in backends:
            self._backends.pop(backend, None)
            self._backends[backend] = None
        while len(self._backends) > MAX_ENDED_SESSIONS:
            del self._backends[next(iter(self._backends))]

    def __contains__(self, backend: int) -> bool:
        return backend in self._backends
