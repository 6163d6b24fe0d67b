"""What libpq reads from the environment: resolved for an address that somebody gave, undone for a server of ours."""

from __future__ import annotations

import os
from typing import Any

from psycopg.pq import Conninfo

from connleak.model.errors import Error

EXAMPLE = "connleak run ... --postgres postgresql://user:password@127.0.0.1:5432/dbname"
SERVICES = ("PGSERVICE", "PGSERVICEFILE")
"""Variables that name an entry of a file: what it says goes before every other variable."""


def resolved(typed: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of an address with all that libpq would fill in; raises Error for a service.

    Host and port are always there, so that the host that is checked is the one that is spoken to.
    """
    if typed.get("service") or os.environ.get("PGSERVICE"):
        named = "the address" if typed.get("service") else "PGSERVICE"
        raise Error(
            f"{named} names a service, whose host cannot be checked: name the host itself",
            f"unset PGSERVICE; {EXAMPLE}",
        )
    found = {name: value for name, value in set_in_environment().items() if value} | typed
    if not found.get("host"):
        found["host"] = found.get("hostaddr") or "127.0.0.1"
    if not found.get("port"):
        found["port"] = "5432"
    return found


def undone(admin: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments for a server of ours, which no variable of the user's changes."""
    for name in SERVICES:  # an argument cannot undo these
        os.environ.pop(name, None)
    compiled = {
        option.keyword.decode(): (option.compiled or b"").decode()
        for option in Conninfo.get_defaults()
        if option.envvar and option.envvar.decode() in os.environ and option.keyword != b"sslcertmode"
    }
    return {**compiled, "connect_timeout": 5, "hostaddr": "", "sslmode": "disable", **admin}


def set_in_environment() -> dict[str, str]:
    """Returns the arguments that variables of the environment set."""
    return {
        option.keyword.decode(): os.environ[option.envvar.decode()]
        for option in Conninfo.get_defaults()
        if option.envvar and option.envvar.decode() in os.environ
    }
