"""Child processes: started through the keeper, waited for, stopped with all they left, their log's last lines.

No child outlives connleak, however it ends: `processes/supervisor_main.py` says how.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from connleak.model.errors import Error, ProcessEnded
from connleak.processes import records
from connleak.processes.leftovers import MARK, clear, surely

ENOUGH_MEMORY = 1 << 30
LOWEST = 10_000
"""The lowest port that an app or a server of ours is given."""
GIVEN: deque[int] = deque(maxlen=500)
"""The ports that this process was given lately."""
KEEPER = Path(__file__).with_name("supervisor_main.py")
DOCKER = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
"""What says where a container is, for the command that removes it."""


@dataclass(frozen=True)
class Child:
    """A started process: its pid, its name in messages, and the file that its output goes to."""

    pid: int
    name: str
    log: Path
    signal: int


class Keeper:
    """The keeper process and the line to it; leaving the context ends every child and removes the scratch folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exits: dict[int, int] = {}
        self._answers: dict[int, tuple[int, str]] = {}
        self._buffer = b""
        self._key = 0
        self._needed: dict[int, Child] = {}
        self._hurried = False
        self.stopped: deque[tuple[str, BaseException]] = deque(maxlen=100)
        """Threads beside a child that an error has ended, for whoever writes the notes."""
        self.scratch = Path()

    def __enter__(self) -> Keeper:
        ours, theirs = socket.socketpair()
        self._record = record = records.begin()
        fds = [theirs.fileno(), record.fd]
        argv = [sys.executable, "-I", "-S", str(KEEPER), *map(str, fds), str(record.path or "")]
        try:
            with theirs:
                self._process = subprocess.Popen(argv, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True)
        except BaseException:
            record.forget()
            raise
        self._channel = ours
        # short, since a Unix socket's path has 107 bytes
        near = Path(tempfile.gettempdir())
        self.scratch = self._folder(near if len(str(near)) < 42 else Path("/tmp"))
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        if self._process.wait():
            surely(lambda: clear(self._record))  # what a keeper that was killed did not do
        self._record.close()

    def _folder(self, inside: Path) -> Path:
        """Returns a new folder, of which the keeper knows before it is there: so none is left, whenever we end."""
        folder = inside / f"{records.PREFIX}{secrets.token_hex(6)}"
        self.remove_at_end(folder)
        folder.mkdir(mode=0o700)
        return folder

    def remove_at_end(self, folder: Path) -> None:
        """Has a folder that is not there yet removed at the end, whatever becomes of us."""
        self._record.add(records.Folder(str(folder)))
        self._ask({"op": "remove", "path": str(folder)})

    def scratch_in_memory(self, name: str) -> Path:
        """Returns a new folder for files that need not outlive the run, in memory where there is enough; removed too.

        On a slow disk a server's thousand files take longer to copy than all else that a start does.
        """
        memory = Path("/dev/shm")
        if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < ENOUGH_MEMORY:
            folder = self.scratch / name
            folder.mkdir(mode=0o700)
            return folder
        return self._folder(memory)

    def admit(self, group: int) -> None:
        """Lets the group of a server's account pass through the scratch folder; nobody else can."""
        os.chown(self.scratch, -1, group)
        self.scratch.chmod(0o710)

    def run_at_end(self, removes: str, argv: Sequence[str]) -> None:
        """Has a command run when all children have ended, whatever becomes of us: it removes what is no child."""
        log = str(self.scratch / "end.log")
        docker = {name: value for name, value in os.environ.items() if name in DOCKER}
        self._record.add(records.Command(removes, tuple(argv), docker))
        self._ask({"op": "at end", "argv": list(argv), "cwd": "/", "env": dict(os.environ), "log": log})

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        stop_signal: int = signal.SIGTERM,
        account: tuple[int, int] | None = None,
    ) -> Child:
        """Returns the started child; raises Error with the system's reason when it cannot be executed."""
        request = {
            "op": "start",
            "argv": list(argv),
            "cwd": str(cwd),
            "env": {**env, MARK: str(self.scratch)},
            "log": str(log),
            "signal": int(stop_signal),
            "uid": account[0] if account else None,
            "gid": account[1] if account else None,
        }
        began = time.time()
        pid, error = self._ask(request)
        if not pid:
            raise Error(f"{name} cannot be started: {argv[0]}: {error}", "connleak doctor", exit_code=4)
        self._record.add(records.Child(pid, began))
        return Child(pid, name, log, stop_signal)

    def exit_code(self, child: Child) -> int | None:
        """Returns the exit code of an ended child (negative: the signal), None while it runs."""
        with self._lock:
            self._read(0.0)
            return self._exits.get(child.pid)

    def need(self, child: Child) -> None:
        """Takes note that nothing goes on without this child, until it is stopped."""
        self._needed[child.pid] = child

    def check(self) -> None:
        """Raises Error with the last lines of a child that is needed and has ended."""
        for child in list(self._needed.values()):
            code = self.exit_code(child)
            if code is not None:
                raise died(child, ended(code), ProcessEnded)

    def stop(self, child: Child, grace: float = 5.0) -> int | None:
        """Asks the child to stop, kills it and its family after `grace` seconds; returns its exit code."""
        self._needed.pop(child.pid, None)
        grace = 0.0 if self._hurried else grace
        with self._lock:
            self._send({"op": "stop", "pid": child.pid, "signal": int(child.signal), "grace": grace})
            deadline = time.monotonic() + grace + 5
            try:
                while child.pid not in self._exits and time.monotonic() < deadline:
                    self._read(0.1)
            except KeyboardInterrupt:
                self._hurried = True  # nobody waits for the others, either
                raise
            return self._exits.get(child.pid)

    def _ask(self, request: dict[str, object]) -> tuple[int, str]:
        with self._lock:
            self._key += 1
            key = self._key
            self._send({**request, "key": key})
            while key not in self._answers:
                self._read(1.0)
            return self._answers.pop(key)

    def _send(self, request: dict[str, object]) -> None:
        try:
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            raise self._died() from None

    def _read(self, timeout: float) -> None:
        ready, _, _ = select.select([self._channel], [], [], timeout)
        if not ready:
            if self._process.poll() is not None:
                raise self._died()
            return
        try:
            data = self._channel.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            raise self._died()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "exit" in message:
                self._exits[message["exit"]] = message["status"]
            else:
                self._answers[message["key"]] = (message["pid"], message["error"])

    def _died(self) -> Error:
        how = ended(self._process.wait())
        return ProcessEnded(
            f"connleak's keeper, which starts and ends all else, {how}", "connleak run ... again", exit_code=4
        )


def wait_until_ready(
    keeper: Keeper, child: Child, ready: Callable[[], bool], timeout: float, every: float = 0.02
) -> None:
    """Returns once `ready()` holds; raises Error with the child's last log lines when it ends or takes too long."""
    deadline = time.monotonic() + timeout
    while True:
        if ready():
            return
        code = keeper.exit_code(child)
        if code is not None:
            raise died(child, f"{ended(code)} before it was ready", ProcessEnded)
        if time.monotonic() > deadline:
            raise died(child, f"was not ready after {timeout:.0f} s")
        time.sleep(every)


def wait_until_done(keeper: Keeper, child: Child, timeout: float, every: float = 0.02) -> None:
    """Returns once the child has ended well; raises Error with its last log lines when it failed or takes too long."""
    deadline = time.monotonic() + timeout
    while (code := keeper.exit_code(child)) is None:
        if time.monotonic() > deadline:
            keeper.stop(child)
            raise died(child, f"was not done after {timeout:.0f} s")
        time.sleep(every)
    if code:
        raise died(child, ended(code), ProcessEnded)


def ended(code: int) -> str:
    """Returns how a process ended, in words."""
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}" if code < 0 else f"ended with exit code {code}"


def died(child: Child, what: str, error: type[Error] = Error) -> Error:
    """Returns the error that says what a child did, with its last words."""
    tail = last_lines(child.log)
    shown = "\n".join(f"    {line}" for line in tail) or "    (it wrote nothing)"
    return error(f"{child.name} {what}; its last lines:\n{shown}", f"less {child.log}", exit_code=4)


def last_lines(log: Path, count: int = 12) -> list[str]:
    """Returns the last lines of a log, without ever reading more than 16 KB of it."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-count:]


def free_port() -> int:
    """Returns a TCP port on loopback that was free a moment ago, and that no outgoing connection gets meanwhile.

    Each is another one than those lately; by chance, not in turn, for a forked process would begin at the same one.
    """
    room = first_outgoing_port() - LOWEST
    for _ in range(100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", LOWEST + secrets.randbelow(room) if room > 1000 else 0))
            port = int(probe.getsockname()[1])
            if port not in GIVEN:
                GIVEN.append(port)
                return port
    raise Error("no free port was found", "ss -ltn", exit_code=4)


def first_outgoing_port() -> int:
    """Returns where the ports begin that the system gives to outgoing connections."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return 0
