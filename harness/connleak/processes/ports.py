"""Free TCP ports on loopback."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections import deque
from pathlib import Path

from connleak.model.errors import Error

LOWEST_PORT = 10_000
ENOUGH_PORTS = 1000
"""Fewer ports than this below the outgoing range: the kernel chooses one instead."""
ATTEMPTS = 100
RECENT: deque[int] = deque(maxlen=500)
"""Ports that this process returned lately."""


def free_port() -> int:
    """Return a TCP port that is free on loopback and outside the range of outgoing connections.

    Recent ports are not returned again. The choice is random, not in turn: forked processes would start at the same
    port. `secrets`, because a fork inherits the state of `random`.
    """
    count = first_outgoing_port() - LOWEST_PORT
    for _ in range(ATTEMPTS):
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", LOWEST_PORT + secrets.randbelow(count) if count > ENOUGH_PORTS else 0))
            port = int(listener.getsockname()[1])
            if port not in RECENT:
                RECENT.append(port)
                return port
    raise Error("no free port was found", "ss -ltn", exit_code=4)


def first_outgoing_port() -> int:
    """Return the first port of the range that the kernel uses for outgoing connections."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return 0
