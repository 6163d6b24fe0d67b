"""The hosts that are this machine's loopback, and a guard that keeps a process from connecting to any other.

Standard library only: the guard is installed in Locust's process before Locust is imported.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from connleak.model.errors import Error

HOSTS = Path("/etc/hosts")
RESOLVED_FOR = 5.0
"""Seconds for which the addresses of allowed names are cached."""
LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname")
SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")
REVERSE = ("socket.gethostbyaddr", "socket.getnameinfo")
METHODS = ("connect", "connect_ex", "sendto", "sendmsg")
NETWORK = (socket.AF_INET, socket.AF_INET6)


class Refused(OSError):
    """A refused connection or lookup, because it would leave loopback."""

    def __init__(self, host: str) -> None:
        super().__init__(refusal(host))
        self.host = host


def refusal(host: str) -> str:
    """Return the message about a refused host."""
    return f"connleak: {host} is not loopback; --allow-remote {host}"


def refused_host(error: object) -> str:
    """Return the host of a Refused error, however clients have wrapped it; empty for other errors.

    The type of the innermost error decides, not its text, which may be the reason phrase of the app's response.
    """
    seen: dict[int, object] = {}
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Refused):
            return found.host
        if isinstance(found, BaseException) and id(found) not in seen:
            seen[id(found)] = found
            waiting += [found.__context__, found.__cause__, getattr(found, "reason", None), *found.args]
    return ""


def is_address(host: str) -> bool:
    """Return whether a host is a numeric address, which needs no lookup."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_local_address(host: str) -> bool:
    """Return whether a numeric address is loopback's, also an IPv4 address in IPv6 form; `0.0.0.0` and `::` count."""
    if not is_address(host):
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or address
    return plain.is_loopback or plain.is_unspecified


def named_in(hosts: Path) -> dict[str, set[str]]:
    """Return {name: its addresses} of a hosts file: these names are resolved without the network."""
    found: dict[str, set[str]] = {"localhost": {"127.0.0.1"}}
    try:
        lines = hosts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            found.setdefault(plain(name), set()).add(address)
    return found


def plain(host: Any) -> str:
    """Return a host's name in the form in which names are compared."""
    text = host.decode("latin-1") if isinstance(host, (bytes, bytearray)) else str(host or "")
    return text.strip("[]").rstrip(".").lower()


class Guard:
    """The hosts that a process may connect to: loopback, and those allowed by name or address."""

    def __init__(self, allowed: Iterable[str] = (), hosts: Path = HOSTS) -> None:
        self.allowed = {plain(host) for host in allowed}
        self.named = named_in(hosts)
        self._resolved: set[str] = set()
        self._until = 0.0

    def may_look_up(self, host: str) -> bool:
        """Return whether looking a host up needs no network, or is allowed."""
        return not host or is_address(host) or host in self.named or host in self.allowed

    def may_reach(self, host: str) -> bool:
        """Return whether packets may be sent to a host."""
        if not host or host in self.allowed:
            return True
        if is_address(host):
            return is_local_address(host) or host in self._addresses()
        return host in self.named and all(map(is_local_address, self.named[host]))

    def _addresses(self) -> set[str]:
        """Return the current addresses of the allowed names."""
        if self.allowed and time.monotonic() > self._until:
            self._until = time.monotonic() + RESOLVED_FOR
            for name in self.allowed:
                try:
                    self._resolved |= {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
                except OSError:
                    continue
        return self._resolved

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Raise Refused for a socket operation that would leave loopback; an audit hook, which cannot be removed."""
        if not event.startswith("socket."):
            return
        if event in LOOKUPS and not self.may_look_up(plain(args[0])):
            raise Refused(plain(args[0]))
        if event in SENDS and args[0].family in NETWORK and isinstance(args[1], tuple):
            self._need(plain(args[1][0]))
        if event in REVERSE:
            self._need(plain(args[0][0] if isinstance(args[0], tuple) else args[0]))

    def wrap(self, kind: Any) -> None:
        """Make a socket class check names before the system looks them up, which raises no audit event."""
        for name, may in (*((send, self.may_reach) for send in METHODS), ("bind", self.may_look_up)):
            setattr(kind, name, self._checked(getattr(kind, name), may))

    def _checked(self, method: Callable[..., Any], may: Callable[[str], bool]) -> Callable[..., Any]:
        @functools.wraps(method)
        def checked(sock: Any, *args: Any) -> Any:
            for address in args if sock.family in NETWORK else ():
                if isinstance(address, tuple) and address and not may(plain(address[0])):
                    raise Refused(plain(address[0]))
            return method(sock, *args)

        return checked

    def _need(self, host: str) -> None:
        if not self.may_reach(host):
            raise Refused(host)

    def refused_redirect(self, url: str, location: str) -> str:
        """Return the host that a redirect leads to if it may not be reached, else an empty string."""
        try:
            host = plain(urlsplit(urljoin(url, location)).hostname)
        except ValueError:  # not a URL: the client that follows it reports that
            return ""
        return "" if self.may_reach(host) else host


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's loopback, or a socket's folder; the network is not used."""
    return host.startswith("/") or Guard().may_reach(plain(host))


def refuse_remote(hosts: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise Error for a host that is neither this machine nor allowed."""
    for host in hosts:
        if host not in allowed and not is_loopback(host):
            raise Error(
                f"{host} is not on this machine; load against other hosts is refused unless you allow it",
                f"connleak run ... --allow-remote {host}, if you may generate load there",
            )


def install(allowed: Iterable[str]) -> Guard:
    """Install a guard in this process and return it."""
    global guard
    guard = Guard(allowed)
    sys.addaudithook(guard.audit)
    guard.wrap(socket.socket)
    return guard


guard: Guard | None = None
"""The guard of this process, None before `install`."""
