"""Sockets between connleak's processes: listening, and the user at the other end."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from connleak.model.errors import Error

CREDENTIALS = struct.Struct("iII")


def listen_local(path: Path) -> socket.socket:
    """Return a listening socket at a path, for probes of this user on this machine."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(256)
    return listening


def listen_tcp(host: str, port: int, option: str = "--listen") -> socket.socket:
    """Return a listening TCP socket; raise Error if the address is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Error(f"{option} {host}:{port}: {error.strerror}", f"{option} HOST:PORT") from None
    listening.listen(64)
    return listening


def peer_credentials(connection: socket.socket) -> tuple[int, int]:
    """Return (pid, uid) of the process at the other end of a local socket, from the kernel."""
    size = CREDENTIALS.size
    pid, uid, _ = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid


def is_same_user(connection: socket.socket) -> bool:
    """Return whether the process at the other end of a local socket belongs to this user or to root."""
    _, uid = peer_credentials(connection)
    return uid in (0, os.geteuid())
