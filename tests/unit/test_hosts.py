"""Which hosts a guarded process speaks to."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
from connleak.model.errors import Error
from connleak.processes.hosts import Guard, Refused, is_local_address, is_loopback, refusal, refuse_remote, refused_host


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", True),
        ("::", True), ("128.0.0.1", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("fe80::1%eth0", False),
        ("localhost", False), ("", False),
    ],
)  # fmt: skip
def test_an_address_is_loopbacks_or_not(host: str, here: bool) -> None:
    assert is_local_address(host) is here


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    (tmp_path / "hosts").write_text(
        "127.0.0.1 localhost # us\n127.0.1.1 shop.test\n::1 shop.test\n10.1.2.3 other.test\n"
    )
    return Guard(["10.9.9.9", "[2001:db8::5]", "Allowed.Test."], tmp_path / "hosts")


def test_names_of_the_hosts_file_are_looked_up_and_reached_where_they_are_here(guard: Guard) -> None:
    looked_up = [host for host in ("localhost", "shop.test", "other.test", "", "192.0.2.1") if guard.may_look_up(host)]
    assert looked_up == ["localhost", "shop.test", "other.test", "", "192.0.2.1"], "no question to the network"
    assert not guard.may_look_up("example.org") and guard.may_look_up("allowed.test")
    assert [host for host in ("localhost", "shop.test", "other.test", "example.org", "allowed.test", "10.9.9.9",
                              "2001:db8::5", "10.1.2.3") if guard.may_reach(host)] == [
        "localhost", "shop.test", "allowed.test", "10.9.9.9", "2001:db8::5"]  # fmt: skip


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("/x", ""), ("http://127.0.0.1:9/x", ""), ("http://localhost/x", ""), ("http://[::1]/x", ""), ("x?y", ""),
        ("//docs.example.org/x", "docs.example.org"), ("https://192.0.2.1/x", "192.0.2.1"),
        ("HTTP://Docs.Example.Org./x", "docs.example.org"), ("http://127.0.0.1@example.org/", "example.org"),
        ("http://[2001:db8::1]/x", "2001:db8::1"), ("http://allowed.test/x", ""), ("http://[x/", ""),
    ],
)  # fmt: skip
def test_a_redirect_leads_elsewhere_or_not(guard: Guard, location: str, host: str) -> None:
    assert guard.refused_redirect("http://127.0.0.1:8000/a", location) == host


def test_a_refusal_is_found_in_what_a_client_makes_of_it() -> None:
    refused = Refused("a.example")
    caused = OSError("no route")
    caused.__cause__ = refused
    assert [refused_host(error) for error in (refused, caused, OSError(caused), URLError(refused))] == ["a.example"] * 4
    assert refused_host(OSError(refusal("a.example"))) == "", "words that the app may have said"
    assert refused_host(refusal("a.example")) == refused_host(None) == ""
    caused.args = (caused,)
    caused.__cause__ = None
    assert refused_host(caused) == ""


GUARDED = """
import asyncio, http.client, socket, sys, urllib.request
from connleak.processes import hosts
guard = hosts.install(["10.9.9.9"])
if "gevent" in sys.argv:
    import gevent.monkey, gevent.socket
    guard.wrap(gevent.socket.socket)
    gevent.monkey.patch_all()
udp = lambda family: socket.socket(family, socket.SOCK_DGRAM)
inet, inet6 = socket.AF_INET, socket.AF_INET6
def waiting():
    found = socket.socket()
    found.setblocking(False)
    return found
async def stream():
    await asyncio.open_connection("192.0.2.1", 9)
ways = {
    "getaddrinfo": lambda: socket.getaddrinfo("example.org", 80),
    "getaddrinfo bytes": lambda: socket.getaddrinfo(b"example.org", 80),
    "gethostbyname": lambda: socket.gethostbyname("example.org"),
    "gethostbyname_ex": lambda: socket.gethostbyname_ex("example.org"),
    "gethostbyaddr": lambda: socket.gethostbyaddr("192.0.2.1"),
    "getnameinfo": lambda: socket.getnameinfo(("192.0.2.1", 80), 0),
    "connect": lambda: socket.socket().connect(("192.0.2.1", 9)),
    "connect_ex": lambda: socket.socket().connect_ex(("192.0.2.1", 9)),
    "connect by name": lambda: socket.socket().connect(("example.org", 9)),
    "connect by name, not waiting": lambda: waiting().connect(("example.org", 9)),
    "sendto by name": lambda: udp(inet).sendto(b"x", ("example.org", 9)),
    "sendto by name with flags": lambda: udp(inet).sendto(b"x", 0, ("example.org", 9)),
    "bind by name": lambda: udp(inet).bind(("example.org", 0)),
    "connect 6": lambda: socket.socket(inet6).connect(("2001:db8::1", 9)),
    "sendto": lambda: udp(inet).sendto(b"x", ("192.0.2.1", 9)),
    "sendto 6": lambda: udp(inet6).sendto(b"x", ("2001:db8::1", 9)),
    "sendmsg": lambda: udp(inet).sendmsg([b"x"], [], 0, ("192.0.2.1", 9)),
    "raw": lambda: sys.modules["_socket"].socket(inet).connect(("192.0.2.1", 9)),
    "asyncio": lambda: asyncio.run(stream()),
    "urllib": lambda: urllib.request.urlopen("http://example.org/"),
    "http.client": lambda: http.client.HTTPConnection("192.0.2.1").request("GET", "/"),
}
for name, way in ways.items():
    try:
        way()
    except OSError as error:
        if hosts.refused_host(error):
            continue
    print("not refused:", name)
server = socket.create_server(("127.0.0.1", 0))
for host in ("127.0.0.1", "localhost", "127.0.0.2"):
    try:
        socket.create_connection((host, server.getsockname()[1]), 1)
    except ConnectionRefusedError:
        pass
udp(inet).sendto(b"x", ("127.0.0.1", 9))
a, b = socket.socketpair()
b.sendmsg([b"x"])
print("done", a.recv(1))
"""


@pytest.mark.parametrize("sockets", ["plain", "gevent"])
def test_a_guarded_process_speaks_to_loopback_alone_whichever_way_it_tries(sockets: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, sockets], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "done b'x'\n", done.stdout + done.stderr


def test_a_name_that_only_a_resolver_finds_is_not_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rule for the plan, the databases and the guard: the address or the hosts file; the network is not asked."""

    def resolve(*_: object) -> list:
        raise AssertionError("a resolver was asked")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert is_loopback("127.0.0.7") and is_loopback("::ffff:127.0.0.1") and is_loopback("LOCALHOST.")
    assert not is_loopback("shop.internal") and not is_loopback("192.0.2.7")
    with pytest.raises(Error, match=r"shop\.internal is not on this machine"):
        refuse_remote(["127.0.0.1", "shop.internal"], ())
    refuse_remote(["127.0.0.1", "shop.internal"], ("shop.internal",))
