"""Read an OpenAPI document from a file, or from an address within bounds of size, time and redirects."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from connleak.model.errors import Error
from connleak.processes import hosts
from connleak.processes.threads import Supervised

LARGEST_DOCUMENT = 10_000_000
"""Bytes."""
DOCUMENT_TIME = 10.0
"""Seconds that one response may take."""
REDIRECTS = 5


def read_document(place: str, allowed: Sequence[str] = ()) -> dict[str, Any]:
    """Return an OpenAPI document from a file or an address; raise Error if it cannot be read as a JSON object."""
    hint = f"curl {place}" if "://" in place else f"less {place}"
    try:
        data = fetch(place, allowed) if "://" in place else first_bytes(Path(place))
        if len(data) > LARGEST_DOCUMENT:
            raise ValueError(f"it has more than {LARGEST_DOCUMENT} bytes")
        found = json.loads(data)
    except RecursionError:
        raise Error(f"--openapi {place}: its JSON is nested too deeply", hint, exit_code=4) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Error(f"--openapi {place} cannot be read as JSON: {error}", hint, exit_code=4) from None
    if not isinstance(found, dict):
        raise Error(f"--openapi {place} is not an OpenAPI document", "connleak run ... --request /orders", exit_code=4)
    return found


def first_bytes(path: Path) -> bytes:
    """Return the bytes of a file, at most one more than a document may have."""
    with path.open("rb") as file:
        return file.read(LARGEST_DOCUMENT + 1)


def fetch(url: str, allowed: Sequence[str]) -> bytes:
    """Return the body at an address, without a proxy; redirects are followed only to allowed hosts."""
    guard = hosts.Guard([*allowed, urlsplit(url).hostname or ""])
    for _ in range(REDIRECTS):
        status, location, data = get(url)
        if status in (301, 302, 303, 307, 308) and location:
            host = guard.refused_redirect(url, location)
            if host or urlsplit(urljoin(url, location)).scheme != "http":
                raise ValueError(f"it redirects to {host or location}, which is not followed")
            url = urljoin(url, location)
            continue
        if status != 200:
            raise ValueError(f"the response has status {status}")
        return data
    raise ValueError(f"it redirects more than {REDIRECTS} times")


def get(url: str) -> tuple[int, str, bytes]:
    """Return (status, Location, body) of one request, which takes DOCUMENT_TIME at most."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=DOCUMENT_TIME)
    connection.connect()
    line = connection.sock  # http.client drops its own reference once the headers are read
    over, done = threading.Event(), threading.Event()

    def end() -> None:
        over.set()
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    def limit_time() -> None:
        if not done.wait(DOCUMENT_TIME):
            end()

    Supervised("document timeout", limit_time, lambda *_: end()).start()
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        data = answer.read(LARGEST_DOCUMENT + 1)
        if over.is_set():  # the body may be incomplete
            raise TimeoutError
        return answer.status, answer.headers.get("Location", ""), data
    except (OSError, http.client.HTTPException):
        if over.is_set():
            raise ValueError(f"it took more than {DOCUMENT_TIME:.0f} s") from None
        raise
    finally:
        done.set()
        connection.close()
