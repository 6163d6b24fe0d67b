"""Parsed addresses: plan/addresses.py is the only module that parses one."""

from __future__ import annotations

from connleak.model.struct import Struct

MYSQL_TLS = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity")
"""The TLS options of a MySQL address; the app's address contains them, too."""


class HostPort(Struct, frozen=True):
    """A host and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class DatabaseAddress(Struct, frozen=True):
    """A database server at an address; `arguments` are those of its driver's connect, with the password."""

    kind: str
    arguments: dict[str, str | int]
