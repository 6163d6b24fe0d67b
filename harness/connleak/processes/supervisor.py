"""Child processes: started through the supervisor process, waited for, and stopped with all their descendants.

No child outlives connleak, however it ends: see `processes/supervisor_main.py`.
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
from connleak.processes import poll, records
from connleak.processes.leftovers import clear, even_if_interrupted
from connleak.processes.variables import DOCKER, MARK

MAIN = Path(__file__).with_name("supervisor_main.py")
ENOUGH_MEMORY = 1 << 30
"""Bytes that must be free in /dev/shm before a server's files go there."""
LONGEST_TMP = 41
"""Characters of a temporary folder's path: the path of a Unix socket in the scratch folder has at most 107 bytes."""
STOP_MARGIN = 5.0
"""Seconds after a child's grace in which the supervisor process must report its end."""
TAIL = 16384
"""Bytes of a log in which its last lines are looked for."""


@dataclass(frozen=True)
class Child:
    """A started process: its pid, its name in messages, the file of its output, and the signal that stops it."""

    pid: int
    name: str
    log: Path
    signal: int


class Supervisor:
    """The supervisor process and the channel to it; on exit every child ends and the scratch folder is removed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exits: dict[int, int] = {}
        self._answers: dict[int, tuple[int, str]] = {}
        self._buffer = b""
        self._key = 0
        self._needed: dict[int, Child] = {}
        self._interrupted = False
        self.stopped: deque[tuple[str, BaseException]] = deque(maxlen=100)
        """Threads that an error ended and that have no access to the recording, with their errors."""
        self.scratch = Path()

    def __enter__(self) -> Supervisor:
        channel, other_end = socket.socketpair()
        self._record = record = records.create()
        fds = [other_end.fileno(), record.fd]
        argv = [sys.executable, "-I", "-S", str(MAIN), *map(str, fds), str(record.path or "")]
        try:
            with other_end:
                self._process = subprocess.Popen(argv, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True)
        except BaseException:
            record.remove()
            raise
        self._channel = channel
        temporary = Path(tempfile.gettempdir())
        self.scratch = self._folder(temporary if len(str(temporary)) <= LONGEST_TMP else Path("/tmp"))
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        if self._process.wait():
            self._cleanup_after_supervisor_death()
        self._record.close()

    def _cleanup_after_supervisor_death(self) -> None:
        even_if_interrupted(lambda: clear(self._record))

    def _folder(self, inside: Path) -> Path:
        """Return a new folder that is registered before it exists, so that it is removed whenever connleak ends."""
        folder = inside / f"{records.PREFIX}{secrets.token_hex(6)}"
        self.remove_at_end(folder)
        folder.mkdir(mode=0o700)
        return folder

    def remove_at_end(self, folder: Path) -> None:
        """Register a folder that does not exist yet for removal at the end, also after a kill -9 of connleak."""
        self._record.add(records.FolderEntry(str(folder)))
        self._request({"op": "remove", "path": str(folder)})

    def scratch_in_memory(self, name: str) -> Path:
        """Return a new folder for files that need not outlive the run, in /dev/shm when it has room.

        On a slow disk, copying a server's thousand files takes longer than the rest of its start.
        """
        memory = Path("/dev/shm")
        if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < ENOUGH_MEMORY:
            folder = self.scratch / name
            folder.mkdir(mode=0o700)
            return folder
        return self._folder(memory)

    def admit(self, group: int) -> None:
        """Let the group of a server's account, and no other, pass through the scratch folder."""
        os.chown(self.scratch, -1, group)
        self.scratch.chmod(0o710)

    def run_at_end(self, removes: str, argv: Sequence[str]) -> None:
        """Register a command that runs after all children have ended, also after a kill -9 of connleak.

        It removes what is not a child process, such as a container; `removes` names that.
        """
        log = str(self.scratch / "end.log")
        docker = {name: value for name, value in os.environ.items() if name in DOCKER}
        self._record.add(records.CommandEntry(removes, tuple(argv), docker))
        self._request({"op": "at end", "argv": list(argv), "cwd": "/", "env": dict(os.environ), "log": log})

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
        """Start a child and return it; raise Error with the system's reason when it cannot be executed."""
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
        pid, error = self._request(request)
        if not pid:
            raise Error(f"{name} cannot be started: {argv[0]}: {error}", "connleak doctor", exit_code=4)
        self._record.add(records.ProcessEntry(pid, began))
        return Child(pid, name, log, stop_signal)

    def exit_code(self, child: Child) -> int | None:
        """Return the exit code of an ended child (negative: the signal), None while it runs."""
        with self._lock:
            self._read(0.0)
            return self._exits.get(child.pid)

    def need(self, child: Child) -> None:
        """Make `check` fail once this child has ended, until it is stopped."""
        self._needed[child.pid] = child

    def check(self) -> None:
        """Raise Error with the last lines of a needed child that has ended."""
        for child in list(self._needed.values()):
            code = self.exit_code(child)
            if code is not None:
                raise child_error(child, f"{child.name} {describe_exit(code)}", ProcessEnded)

    def stop(self, child: Child, grace: float = 5.0) -> int | None:
        """Signal the child to stop, kill it and its descendants after `grace` seconds, and return its exit code."""
        self._needed.pop(child.pid, None)
        grace = 0.0 if self._interrupted else grace
        with self._lock:
            self._send({"op": "stop", "pid": child.pid, "signal": int(child.signal), "grace": grace})
            try:
                with contextlib.suppress(poll.TimedOut):
                    poll.until(lambda: self._ended(child), grace + STOP_MARGIN, f"{child.name} to end", every=0)
            except KeyboardInterrupt:
                self._interrupted = True  # the children that are stopped next get no grace either
                raise
            return self._exits.get(child.pid)

    def _ended(self, child: Child) -> bool:
        """Return whether a child has ended, after a moment of waiting for that."""
        if child.pid not in self._exits:
            self._read(0.1)
        return child.pid in self._exits

    def _request(self, request: dict[str, object]) -> tuple[int, str]:
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
            raise self._death() from None

    def _read(self, timeout: float) -> None:
        ready, _, _ = select.select([self._channel], [], [], timeout)
        if not ready:
            if self._process.poll() is not None:
                raise self._death()
            return
        try:
            data = self._channel.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            raise self._death()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "exit" in message:
                self._exits[message["exit"]] = message["status"]
            else:
                self._answers[message["key"]] = (message["pid"], message["error"])

    def _death(self) -> Error:
        how = describe_exit(self._process.wait())
        message = f"connleak's supervisor process, which starts and stops all child processes, {how}"
        return ProcessEnded(message, "connleak run ... again", exit_code=4)


def wait_until_ready(
    supervisor: Supervisor, child: Child, ready: Callable[[], bool], timeout: float, every: float = 0.02
) -> None:
    """Return once `ready()` holds; raise Error with the child's last log lines when it ends first or takes too long."""

    def is_ready() -> bool:
        if ready():
            return True
        code = supervisor.exit_code(child)
        if code is not None:
            raise child_error(child, f"{child.name} {describe_exit(code)} before it was ready", ProcessEnded)
        return False

    wait_for_child(child, is_ready, timeout, "become ready", every)


def wait_until_done(supervisor: Supervisor, child: Child, timeout: float, every: float = 0.02) -> None:
    """Return once the child has ended with exit code 0; raise Error with its last log lines otherwise."""
    try:
        wait_for_child(child, lambda: supervisor.exit_code(child) is not None, timeout, "finish", every)
    except Error:
        supervisor.stop(child)
        raise
    code = supervisor.exit_code(child)
    if code:
        raise child_error(child, f"{child.name} {describe_exit(code)}", ProcessEnded)


def wait_for_child(child: Child, condition: Callable[[], bool], timeout: float, what: str, every: float) -> None:
    """Return once the condition holds; raise Error with the child's last log lines when it takes too long."""
    try:
        poll.until(condition, timeout, f"{child.name} to {what}", every)
    except poll.TimedOut as error:
        raise child_error(child, str(error)) from None


def describe_exit(code: int) -> str:
    """Return the words for an exit code: "ended with exit code 1", "was ended by SIGKILL"."""
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}" if code < 0 else f"ended with exit code {code}"


def child_error(child: Child, message: str, kind: type[Error] = Error) -> Error:
    """Return an error about a child, with the last lines of its log."""
    tail = last_lines(child.log)
    shown = "\n".join(f"    {line}" for line in tail) or "    (it wrote nothing)"
    return kind(f"{message}; its last lines:\n{shown}", f"less {child.log}", exit_code=4)


def last_lines(log: Path, count: int = 12) -> list[str]:
    """Return the last lines of a log, of which at most 16 KB are read."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-count:]
