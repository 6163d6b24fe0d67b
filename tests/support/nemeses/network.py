"""The path between an app and its database: a TCP proxy, and a network namespace with packet loss."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

from connleak.processes.ports import free_port


class Wire:
    """A TCP proxy that can be slow, cut, closed or silent; a context manager."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", free_port()), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.delay = 0.0
        self.silent = False
        self._open: list[socket.socket] = []
        self._over = False

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection at once, on both sides."""
        for line in self._open:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        """Refuse new connections, and end the open ones."""
        self._listener.close()
        self.cut()

    def open(self) -> None:
        """Accept connections again, at the same port."""
        for _ in range(100):  # an outgoing connection may have the port for a moment
            with contextlib.suppress(OSError):
                self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
                break
            time.sleep(0.1)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        listener = self._listener
        while not self._over:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            for line in (near, far):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(self.delay)
                while self.silent and not self._over:
                    time.sleep(0.02)
                sink.sendall(data)
        for line in (source, sink):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)  # wakes the thread of the other direction
            line.close()


@contextlib.contextmanager
def namespace(name: str) -> Iterator[tuple[str, ...]]:
    """Yield the command prefix that runs a command in a network namespace with only loopback."""
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield ("ip", "netns", "exec", name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def drop(name: str, port: int) -> None:
    """Drop every packet from and to a port in a namespace: connections become half-open."""
    for side in ("--dport", "--sport"):
        run("ip", "netns", "exec", name, "iptables", "-I", "INPUT", "-p", "tcp", side, str(port), "-j", "DROP")


def undrop(name: str) -> None:
    """Pass all packets again."""
    run("ip", "netns", "exec", name, "iptables", "-F", "INPUT")


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
