"""Environment variables that connleak passes to its child processes, or keeps from them."""

from __future__ import annotations

MARK = "CONNLEAK_KEEPER"
"""Set in every child: the scratch folder of its run, by which `leftovers` finds the children of a killed run."""
LIBPQ_SERVICE = ("PGSERVICE", "PGSERVICEFILE")
"""They name an entry of a service file; libpq prefers its host to PGHOST's."""
DOCKER = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
"""They name the Docker engine, for the command that removes a container."""
