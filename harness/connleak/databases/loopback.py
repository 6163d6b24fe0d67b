"""Which hosts are this machine: load goes to no other unless that is asked for by its name."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from connleak.model.errors import Error
from connleak.processes.hosts import is_local_address


def refuse_remote(hosts: Iterable[str], allowed: Sequence[str]) -> None:
    """Raises Error for a host that is not this machine's, unless --allow-remote names it."""
    for host in hosts:
        if host not in allowed and not is_loopback(host):
            raise Error(
                f"{host} is not on this machine; load against hosts of others is refused",
                f"connleak run ... --allow-remote {host}, if it is yours to load",
            )


def is_loopback(host: str) -> bool:
    """Tells whether a host is this machine's loopback: a socket folder, or a name all of whose addresses are."""
    if host.startswith("/"):
        return True
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(is_local_address(str(entry[4][0])) for entry in found)
