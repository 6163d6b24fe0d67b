"""The processes of the app whose probes are connected: authenticating them, and passing on their messages.

Rejections are counted, and noted once per kind.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable

from connleak.collectors import schema
from connleak.collectors.authentication import matches
from connleak.collectors.probe_connection import Channel, ProbeConnection
from connleak.collectors.relay_connection import RemoteProbe
from connleak.collectors.schema import MAX_TEXT, Hello, Message
from connleak.model.recording import NO_FACTS, Note, NoteCode, NoteFacts
from connleak.processes.decoding import InvalidMessage
from connleak.recording.format import EventLine
from connleak.recording.redaction import redact_input
from connleak.recording.writer import Writer

MAX_INVALID = 100
"""Invalid messages of one process, after which it is disconnected."""


class ProbeRegistry:
    """The connected processes, by pid and by channel.

    `on_message` is called with each message of a process, `on_disconnect` after its last.
    """

    def __init__(
        self,
        writer: Writer,
        origin: float,
        on_message: Callable[[ProbeConnection, Message], None],
        on_disconnect: Callable[[ProbeConnection], None],
    ) -> None:
        self._writer = writer
        self._origin = origin
        self._on_message = on_message
        self._on_disconnect = on_disconnect
        self.token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._by_pid: dict[int, ProbeConnection] = {}
        self._by_channel: dict[Channel, ProbeConnection] = {}
        self._rejected: Counter[str] = Counter()

    def living(self) -> list[ProbeConnection]:
        """Return the connected processes."""
        with self._lock:
            return list(self._by_pid.values())

    def is_authenticated(self, channel: Channel) -> bool:
        """Return whether a process has authenticated on a channel."""
        return channel in self._by_channel

    def now(self) -> float:
        """Return the time in seconds of the recording."""
        return round(time.monotonic() - self._origin, 4)

    def note(self, code: NoteCode, text: str, facts: NoteFacts = NO_FACTS) -> None:
        self._writer.append("notes", Note(self.now(), code, text, facts))

    def reject(self, why: str, detail: str = "") -> None:
        """Count a rejection, and note the first of its kind: a flood of them must not fill the disk."""
        self._rejected[why] += 1
        if self._rejected[why] == 1:
            self.note(NoteCode.PROBE_REJECTED, f"{why}: {detail}" if detail else why)

    def note_repeated(self) -> None:
        """Note how often each kind of rejection occurred, if more than once."""
        for why, times in self._rejected.items():
            if times > 1:
                self.note(NoteCode.PROBE_REJECTED, f"{times} times: {why}", NoteFacts(count=times))

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
            self.note(NoteCode.PROBE_REJECTED, text, NoteFacts(process=probe.pid, count=MAX_INVALID))
        return probe.invalid < MAX_INVALID

    def _authenticate(self, channel: Channel, hello: Hello) -> bool:
        """Add a process after its first message; return False if its token is wrong."""
        pid, command = hello.hello, redact_input(hello.command[:MAX_TEXT])
        if isinstance(channel, RemoteProbe):  # its relay checks the token, and has proved that it has the secret
            relay = channel.relay
            probe = ProbeConnection(relay.process_of(pid), command, channel, host=relay.host, relay=relay)
        elif matches(self.token, hello.token):
            probe = ProbeConnection(pid, command, channel)
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

    def disconnect(self, channel: Channel) -> None:
        """Remove a process that has ended or closed its connection."""
        probe = self._by_channel.pop(channel, None)
        if probe is None:
            return
        self._on_disconnect(probe)
        with self._lock:
            if self._by_pid.get(probe.pid) is probe:
                del self._by_pid[probe.pid]
        self._writer.append("events", EventLine(self.now(), "bye", probe.pid))
