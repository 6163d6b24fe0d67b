"""Addresses that a user types -> typed values: parsed, resolved and checked here, once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from connleak.model.addresses import MYSQL_TLS, DatabaseAddress, HostPort
from connleak.model.errors import Error
from connleak.processes.hosts import refuse_remote

MYSQL_EXAMPLE = "connleak run ... --mysql mysql://user:password@127.0.0.1:3306/dbname"


def parse_host_port(text: str, option: str) -> HostPort:
    """Return an option's HOST:PORT; a port alone is on loopback."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) >= 65536:
        raise Error(f"{option} {text} is not of the form HOST:PORT", f"{option} 10.0.0.1:7700")
    return HostPort(host.strip("[]") or "127.0.0.1", int(port))


def check_loopback_url(url: str, option: str, allowed: Sequence[str]) -> None:
    """Raise Error for a URL that is malformed, or whose host is neither this machine nor allowed."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:  # a malformed port or bracket
        usable = False
    if not usable:
        raise Error(
            f"{option} {url} is not of the form http://HOST:PORT", f"connleak run ... {option} http://127.0.0.1:8000"
        )
    refuse_remote([str(parts.hostname)], allowed)


def parse_database(address: str, allowed: Sequence[str]) -> DatabaseAddress:
    """Return a database address of any kind that connleak supports; raise Error for a host that is not allowed."""
    scheme = address.partition("://")[0].partition("+")[0]
    return PARSERS.get(scheme, parse_postgres)(address, allowed)


def parse_postgres(address: str, allowed: Sequence[str]) -> DatabaseAddress:
    """Return psycopg's arguments for an address, with what libpq takes from the environment."""
    from connleak.databases.postgres.libpq import with_environment

    arguments = {"connect_timeout": 5, **with_environment(parse_conninfo(address)), "application_name": "connleak"}
    refuse_remote(hosts_of(arguments), allowed)
    return DatabaseAddress("postgresql", arguments)


def parse_conninfo(address: str) -> dict[str, str]:
    """Return libpq's arguments for an address; a SQLAlchemy driver in its scheme is dropped."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    from connleak.databases.postgres.libpq import EXAMPLE

    scheme, separator, remainder = address.partition("://")
    if separator:
        address = f"{scheme.partition('+')[0]}://{remainder}"
    try:
        return {name: str(value) for name, value in conninfo_to_dict(address).items()}
    except psycopg.Error as error:
        reason = str(error).strip().replace(address, "the address")
        raise Error(f"--postgres is not an address that libpq accepts: {reason}", EXAMPLE) from None


def hosts_of(arguments: Mapping[str, object]) -> list[str]:
    """Return the hosts of an address: libpq connects to `hostaddr`, an app may connect to `host`."""
    named = [str(arguments[name]).split(",") for name in ("host", "hostaddr") if arguments.get(name)]
    return [host or "127.0.0.1" for hosts in named for host in hosts]


def parse_mysql(address: str, allowed: Sequence[str]) -> DatabaseAddress:
    """Return PyMySQL's arguments for an address; a SQLAlchemy driver in its scheme is dropped."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or 3306
    except ValueError:  # a malformed port or bracket
        host = None
    if not host or parts.scheme.partition("+")[0] not in ("mysql", "mariadb"):
        raise Error("--mysql is not of the form mysql://user:password@HOST:PORT/dbname", MYSQL_EXAMPLE)
    options: dict[str, str | int] = dict(parse_qsl(parts.query))
    unknown = sorted(options.keys() - set(MYSQL_TLS) - {"charset"})
    if unknown:
        raise Error(f"--mysql has an unknown option {unknown[0]}; known: {', '.join(MYSQL_TLS)}", MYSQL_EXAMPLE)
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise Error("--mysql has no database name", MYSQL_EXAMPLE)
    refuse_remote([host], allowed)
    found: dict[str, str | int] = {"host": host, "port": port, "database": database, "connect_timeout": 5}
    found |= {"user": unquote(parts.username)} if parts.username else {}
    found |= {"password": unquote(parts.password)} if parts.password else {}
    return DatabaseAddress("mysql", found | options)


PARSERS: dict[str, Callable[[str, Sequence[str]], DatabaseAddress]] = {"mysql": parse_mysql, "mariadb": parse_mysql}
"""By the scheme of an address; the others are libpq's."""
