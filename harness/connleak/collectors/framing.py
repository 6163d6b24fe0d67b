"""How a probe on another host speaks with the collector: frames of [length, channel, payload] on one TCP connection.

Channel 0 is the relay's own, in JSON; every other is a process of the app, whose messages pass unread. Both ends show
that they know the secret by authenticating their role and a fresh word of each end; the secret itself never travels.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any, Literal

from connleak.model.errors import Error

Role = Literal["relay", "collector"]
HEAD = struct.Struct(">II")
LARGEST = 1 << 20
UNKNOWN = 4096
"""Bytes of a frame of one that has not shown yet that it knows the secret."""
SECRET = "CONNLEAK_SECRET"
"""The variable that holds the secret: on a command line all users of the host could read it."""


class Frames:
    """Cuts a stream of bytes into frames of at most `largest` bytes."""

    def __init__(self, largest: int = LARGEST) -> None:
        self.largest = largest
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Returns the frames that are whole now, as (channel, payload); raises ValueError at one that is too long."""
        self._buffer += data
        found = []
        at = 0
        while len(self._buffer) - at >= HEAD.size:
            length, channel = HEAD.unpack_from(self._buffer, at)
            if length > self.largest:
                raise ValueError(f"a frame of {length} bytes")
            begin = at + HEAD.size
            if len(self._buffer) < begin + length:
                break
            at = begin + length
            found.append((channel, self._buffer[begin:at]))
        self._buffer = self._buffer[at:]
        return found


def packed(channel: int, payload: bytes) -> bytes:
    return HEAD.pack(len(payload), channel) + payload


def told(**message: Any) -> bytes:
    """Returns a frame of the relay's own channel."""
    return packed(0, json.dumps(message).encode())


def mac(secret: str, role: Role, collectors: str, relays: str) -> str:
    """Return what shows that an end knows the secret, for the words of both.

    The role is in it, so that what one end shows is of no use to whoever passes itself off as the other.
    """
    words = json.dumps([role, collectors, relays]).encode()
    return hmac.new(secret.encode(), words, hashlib.sha256).hexdigest()


def shows(expected: str, shown: str) -> bool:
    """Tell whether what an end shows is what `mac` expects of it."""
    return hmac.compare_digest(expected.encode(), shown.encode("utf-8", "replace"))


def need_secret() -> str:
    """Returns the secret that both ends share; raises Error when the environment has none."""
    found = os.environ.get(SECRET, "")
    if len(found) < 16:
        raise Error(
            f"{SECRET} is not set, or shorter than 16 characters: both ends need the same",
            f"export {SECRET}=$(openssl rand -hex 16)",
        )
    return found


def local_listener(path: Path) -> socket.socket:
    """Returns a socket on which probes of this machine and this user say hello, at a path."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found.bind(str(path))
    path.chmod(0o600)
    found.listen(256)
    return found


def listener(host: str, port: int, option: str = "--listen") -> socket.socket:
    """Returns a listening TCP socket; raises Error when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise Error(f"{option} {host}:{port}: {error.strerror}", f"{option} HOST:PORT") from None
    found.listen(64)
    return found
