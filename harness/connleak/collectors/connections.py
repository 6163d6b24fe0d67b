"""The lines to the app's processes: who may come in, who is there, and what each of them says, until it is let go.

Everything that comes in is authenticated first, then parsed into the types of `collectors/messages.py`. What is
refused is counted, and noted once a kind.
"""

from __future__ import annotations

import hmac
import secrets
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from connleak.collectors import messages
from connleak.collectors.doors import Door, is_own
from connleak.collectors.framing import local_listener
from connleak.collectors.messages import LARGEST, Hello, Message, Nonsense
from connleak.collectors.peers import Peer
from connleak.collectors.relay_server import Channel, Relays
from connleak.model.plan import Plan
from connleak.model.recording import NO_FACTS, Note, NoteCode, NoteFacts
from connleak.processes.threads import Supervised, stopped
from connleak.recording.reader import EventLine
from connleak.recording.redaction import hidden
from connleak.recording.writer import Writer

GARBAGE = 100
"""Messages of one process that are not understood, after which nobody listens to it any more."""
Line = socket.socket | Channel
"""What a process speaks on: its socket, or its part of a relay's."""


class Lines:
    """Listens on a socket in the scratch folder, in a thread of its own, until it is closed.

    `said` is called with each message of a process, `left` when one has gone; both in that thread. `ended` is called
    when an error has ended the thread: nothing is heard from then on.
    """

    def __init__(
        self,
        writer: Writer,
        path: Path,
        origin: float,
        said: Callable[[Peer, Message], None],
        left: Callable[[Peer], None],
        ended: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._origin = origin
        self._said = said
        self._left = left
        self._ended = ended
        self.path = path
        self.token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._peers: dict[int, Peer] = {}
        self._by_line: dict[Line, Peer] = {}
        self._refused: Counter[str] = Counter()
        self.far: Relays | None = None
        self._stop = False
        self._thread = Supervised("collector", self._run, self._stopped)

    def __enter__(self) -> Lines:
        self._door = Door(local_listener(self.path))
        self._selector = selectors.DefaultSelector()
        self._door.register(self._selector, self._knocks)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        for why, times in self._refused.items():
            if times > 1:
                self.note(NoteCode.PROBE_REJECTED, f"{times} times: {why}", NoteFacts(count=times))
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        for door in self._doors():
            door.listener.close()
        self._selector.close()

    def listen(self, far: socket.socket, secret: str, plan: Plan) -> None:
        """Takes in probes of other hosts, too, from now on: `far` is a listening TCP socket, which it closes."""
        self.far = Relays(far, secret, {"probe": plan.probe, "gc": plan.gc})
        self.far.door.register(self._selector, self._relay_knocks)

    @property
    def failed(self) -> bool:
        """Whether an error has ended the thread."""
        return self._thread.failed

    def living(self) -> list[Peer]:
        """Returns the processes whose line is open."""
        with self._lock:
            return list(self._peers.values())

    def now(self) -> float:
        """Returns the moment in seconds of the recording."""
        return round(time.monotonic() - self._origin, 4)

    def note(self, code: NoteCode, text: str, facts: NoteFacts = NO_FACTS) -> None:
        self._writer.append("notes", Note(self.now(), code, text, facts))

    def refuse(self, why: str, detail: str = "") -> None:
        """Counts something that was refused; only the first of its kind is noted, so that no flood fills the disk."""
        self._refused[why] += 1
        if self._refused[why] == 1:
            self.note(NoteCode.PROBE_REJECTED, f"{why}: {detail}" if detail else why)

    def understood(self, line: Line, data: bytes) -> bool:
        """Takes a message in; False when it was a stranger's, or one too many that could not be understood."""
        peer = self._by_line.get(line)
        try:
            if peer is None:
                return self._begin(line, messages.hello(data))
            self._said(peer, messages.message(data))
            return True
        except Nonsense as error:
            kind = "a first message" if peer is None else "a message"
            self.refuse(f"{kind} could not be understood", str(error))
        if peer is None:
            return False
        peer.lost += 1
        peer.garbage += 1
        if peer.garbage == GARBAGE:
            text = f"process {peer.pid} was let go: {GARBAGE} of its messages could not be understood"
            self.note(NoteCode.PROBE_REJECTED, text, NoteFacts(process=peer.pid, count=GARBAGE))
        return peer.garbage < GARBAGE

    # the thread

    def _stopped(self, thread: str, error: BaseException) -> None:
        self._writer.append("notes", stopped(self.now(), thread, error))
        self._ended()

    def _doors(self) -> list[Door]:
        return [self._door, *([self.far.door] if self.far else [])]

    def _run(self) -> None:
        while not self._stop:
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj.fileno() >= 0:  # else it was closed for another's sake just now
                    key.data(key.fileobj)
            self._keep_time()

    def _keep_time(self) -> None:
        """Sends away who does not show who it is, or does not read; notes what went wrong at the doors."""
        for line in self._door.overdue():
            self._close(line)
            self.refuse("a connection that did not say hello was closed")
        for relay, why in (self.far.keep_time() if self.far else {}).items():
            self._send_away(relay, why)
        for door in self._doors():
            if door.trouble:
                self.refuse(f"a connection could not be let in: {door.trouble}")
                door.trouble = ""

    def _knocks(self, listener: socket.socket) -> None:
        line = self._door.accept()
        if line is not None and not is_own(line):
            self._door.gone(line)
            line.close()
            self.refuse("a connection of another user was closed")
        elif line is not None:
            self._selector.register(line, selectors.EVENT_READ, self._receive)

    def _relay_knocks(self, listener: socket.socket) -> None:
        assert self.far is not None
        relay = self.far.accept()
        if relay is not None:
            self._selector.register(relay, selectors.EVENT_READ, self._receive_far)

    def _receive(self, line: socket.socket) -> None:
        for _ in range(50):  # then the others have their turn
            try:
                # one byte more than a first message may have: a longer one is known by it
                data = line.recv(LARGEST if line in self._by_line else messages.HELLO + 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data or not self.understood(line, data):
                self._close(line)
                return

    def _close(self, line: socket.socket) -> None:
        self._selector.unregister(line)
        self._door.gone(line)
        self._leaves(line)
        line.close()

    def _receive_far(self, relay: socket.socket) -> None:
        """Takes in what a relay passes on, and closes it with all its processes when it is gone or speaks nonsense."""
        assert self.far is not None
        told = self.far.receive(relay)
        for channel, data in told.said:
            if not data:
                self._leaves(channel)
            elif not self.understood(channel, data):
                self._leaves(channel)
                channel.close()
        for host, why in self.far.stopped():
            self._writer.append("notes", stopped(self.now(), f"relay on {host}", why))
        if told.ended:
            self._selector.unregister(relay)
            relay.close()
        if told.why:
            self.refuse(f"a relay was sent away: {told.why}")

    def _send_away(self, relay: socket.socket, why: str) -> None:
        assert self.far is not None
        for channel, _ in self.far.forget(relay).said:
            self._leaves(channel)
        self._selector.unregister(relay)
        relay.close()
        self.refuse(f"a relay was sent away: {why}")

    def _begin(self, line: Line, hello: Hello) -> bool:
        """Takes in a process that says hello; False when it does not know the token."""
        pid, command = hello.hello, hidden(hello.command[: messages.TEXT])
        if isinstance(line, Channel):  # its relay has looked at its own token, and has shown that it knows the secret
            peer = Peer(line.relay.process(pid), command, line, host=line.relay.host, relay=line.relay)
        elif hmac.compare_digest(hello.token.encode(), self.token.encode()):
            peer = Peer(pid, command, line)
            self._door.shown(line)
        else:
            self.refuse("a process without the token was sent away")
            return False
        with self._lock:
            self._peers[peer.pid] = peer
        self._by_line[line] = peer
        detail = f"Python {hello.python[:20]}, parent {hello.parent}"
        detail += f", on {peer.host}" if peer.host else ""
        self._writer.append("events", EventLine(self.now(), "hello", peer.pid, detail=detail))
        return True

    def _leaves(self, line: Line) -> None:
        """Takes note that a process has ended, or its line, and forgets it."""
        peer = self._by_line.pop(line, None)
        if peer is None:
            return
        self._left(peer)
        with self._lock:
            if self._peers.get(peer.pid) is peer:
                del self._peers[peer.pid]
        self._writer.append("events", EventLine(self.now(), "bye", peer.pid))
