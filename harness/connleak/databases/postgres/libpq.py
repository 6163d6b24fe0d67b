"""Connection arguments and libpq's environment variables: applied to an external address, ruled out for a local server.

The variables that libpq reads (PGHOST, PGSSLMODE, ...) are the user's, for the user's own server.
"""

from __future__ import annotations

import os
from typing import Any

from psycopg.pq import Conninfo

from connleak.model.errors import Error
from connleak.processes.variables import LIBPQ_SERVICE

EXAMPLE = "connleak run ... --postgres postgresql://user:password@127.0.0.1:5432/dbname"


def with_environment(given: dict[str, Any]) -> dict[str, Any]:
    """Return an address's arguments with everything that libpq adds from the environment; raise Error for a service.

    Host and port are always set, so the host that is checked is the host that is connected to.
    """
    if given.get("service") or os.environ.get("PGSERVICE"):
        named = "the address" if given.get("service") else "PGSERVICE"
        raise Error(
            f"{named} names a service, whose host cannot be checked: give the host itself",
            f"unset PGSERVICE; {EXAMPLE}",
        )
    arguments = {name: value for name, value in set_in_environment().items() if value} | given
    if not arguments.get("host"):
        arguments["host"] = arguments.get("hostaddr") or "127.0.0.1"
    if not arguments.get("port"):
        arguments["port"] = "5432"
    return arguments


def without_environment(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for a server that this run started, so complete that no variable changes them."""
    for name in LIBPQ_SERVICE:  # an argument cannot override a service
        os.environ.pop(name, None)
    compiled = {
        option.keyword.decode(): (option.compiled or b"").decode()
        for option in Conninfo.get_defaults()
        if option.envvar and option.envvar.decode() in os.environ and option.keyword != b"sslcertmode"
    }
    return {**compiled, "connect_timeout": 5, "hostaddr": "", "sslmode": "disable", **given}


def set_in_environment() -> dict[str, str]:
    """Return the arguments that environment variables set."""
    return {
        option.keyword.decode(): os.environ[option.envvar.decode()]
        for option in Conninfo.get_defaults()
        if option.envvar and option.envvar.decode() in os.environ
    }
