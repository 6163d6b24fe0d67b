"""Which hosts are this machine's loopback, and a guard that keeps a process from speaking to any other.

Standard library only: it is installed in Locust's process before Locust itself is imported.
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
"""Seconds for which the addresses of allowed names are remembered."""
LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname")
SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")
REVERSE = ("socket.gethostbyaddr", "socket.getnameinfo")
METHODS = ("connect", "connect_ex", "sendto", "sendmsg")
NETWORK = (socket.AF_INET, socket.AF_INET6)


class Refused(OSError):
    """A connection or a lookup that would have left loopback."""

    def __init__(self, host: str) -> None:
        super().__init__(refusal(host))
        self.host = host


def refusal(host: str) -> str:
    """Returns what is said of a host that is not to be spoken to."""
    return f"connleak: {host} is not loopback; --allow-remote {host}"


def refused_in(error: object) -> str:
    """Return the host that an error was refused for, whatever the clients have wrapped it in; else nothing.

    By the type of the error at the bottom: its words may come from the app, in the reason phrase of an answer.
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
    """Tells whether a host is a numeric address, which needs no lookup."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_here(host: str) -> bool:
    """Tells whether a numeric address is loopback's, also as IPv6 writes an IPv4 one; `0.0.0.0` and `::` are here."""
    if not is_address(host):
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or address
    return plain.is_loopback or plain.is_unspecified


def named_in(hosts: Path) -> dict[str, set[str]]:
    """Returns {name: its addresses} of a hosts file: such a name is found without asking the network."""
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
    """Returns a host's name in the form in which two are compared."""
    text = host.decode("latin-1") if isinstance(host, (bytes, bytearray)) else str(host or "")
    return text.strip("[]").rstrip(".").lower()


class Guard:
    """What a process may speak to: loopback, and the hosts that were allowed by name or address."""

    def __init__(self, allowed: Iterable[str] = (), hosts: Path = HOSTS) -> None:
        self.allowed = {plain(host) for host in allowed}
        self.named = named_in(hosts)
        self._resolved: set[str] = set()
        self._until = 0.0

    def may_look_up(self, host: str) -> bool:
        """Tells whether looking a host up asks nobody, or was allowed."""
        return not host or is_address(host) or host in self.named or host in self.allowed

    def may_reach(self, host: str) -> bool:
        """Tells whether packets may be sent to a host."""
        if not host or host in self.allowed:
            return True
        if is_address(host):
            return is_here(host) or host in self._addresses()
        return host in self.named and all(map(is_here, self.named[host]))

    def _addresses(self) -> set[str]:
        """Returns the addresses that the allowed names have now."""
        if self.allowed and time.monotonic() > self._until:
            self._until = time.monotonic() + RESOLVED_FOR
            for name in self.allowed:
                try:
                    self._resolved |= {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
                except OSError:
                    continue
        return self._resolved

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Raises Refused for a socket's use that would leave loopback; an audit hook, which cannot be taken out."""
        if not event.startswith("socket."):
            return
        if event in LOOKUPS and not self.may_look_up(plain(args[0])):
            raise Refused(plain(args[0]))
        if event in SENDS and args[0].family in NETWORK and isinstance(args[1], tuple):
            self._need(plain(args[1][0]))
        if event in REVERSE:
            self._need(plain(args[0][0] if isinstance(args[0], tuple) else args[0]))

    def wrap(self, kind: Any) -> None:
        """Has a class of sockets look at a name before the system looks it up, which no audit hook hears of."""
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

    def elsewhere(self, url: str, location: str) -> str:
        """Returns the host that a redirect leads to where that may not be reached, else nothing."""
        try:
            host = plain(urlsplit(urljoin(url, location)).hostname)
        except ValueError:  # no address at all: whoever follows it says so
            return ""
        return "" if self.may_reach(host) else host


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's loopback, or a socket's folder; the network is not asked."""
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
    """Guards this process from now on; returns the guard."""
    global guard
    guard = Guard(allowed)
    sys.addaudithook(guard.audit)
    guard.wrap(socket.socket)
    return guard


guard: Guard | None = None
"""The guard of this process, where one is installed."""
