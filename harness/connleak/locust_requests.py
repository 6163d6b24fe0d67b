"""The requests of a Locust process as rows of the recording, with bounds on the names and messages in them."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import Any

from connleak.processes import hosts
from connleak.recording.redaction import redact

HOSTS = 20
"""Other hosts that are reported."""
ELSEWHERE = "connleak_elsewhere"
"""The attribute of a response whose redirect was not followed: the host that it leads to."""
REFUSED = "connleak_refused"
"""The key in the row of a refused request: the host that it was for."""
OURS = "connleak:"
"""The prefix of an error message by connleak."""
UNSENT = ("ConnectionRefused", "refused", "RetriesExceeded")
"""Parts of a client's error for a request that never reached the app."""
LONGEST = 255
"""Characters of a host's name, as in DNS."""
KINDS = 1000
"""Other hosts that are counted one by one; an app may name a new one in every response."""
REST = "others"
"""The name under which all further hosts are counted."""
SECRETS = [value for name, value in os.environ.items() if name.startswith("REQUEST_SECRET_")]
"""Secrets in the requests of a made locustfile, which an error message may repeat."""
REPORTED = "connleak"
"""The part of a worker's report to the master that holds its requests."""


class Requests:
    """The file of requests, on the recording's clock; rows of workers come with their age."""

    def __init__(self, path: str, origin: float) -> None:
        self.file = open(path, "a", buffering=1 << 16)  # noqa: SIM115, PTH123 - open as long as the process
        self.origin = origin
        self.longest = 0.0
        self.requests = 0
        self.failures = 0
        self.estimated = 0
        self.reported_at: dict[str, float] = {}
        """The moment of each worker's last report."""
        self.redirects: Counter[str] = Counter()
        """Other hosts to which redirects of the app were not followed."""
        self.refused: Counter[str] = Counter()
        """Other hosts that requests were refused to."""

    def add(self, **event: Any) -> None:
        self.write(*request_row(**event))

    def write(self, began: float, row: dict[str, Any]) -> None:
        self.requests += 1
        self.failures += not row.get("ok", True)
        self.longest = max(self.longest, row["seconds"])
        count(self.redirects, row.pop(ELSEWHERE, ""))
        count(self.refused, row.pop(REFUSED, ""))
        self.file.write(json.dumps({"t": round(began - self.origin, 4), **row}) + "\n")

    def add_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        """Write the requests of a worker; without this plug-in a worker reports only their number and mean time."""
        now = self.reported_at[client_id] = time.monotonic()
        if REPORTED in data:
            for age, row in data[REPORTED]:
                self.write(now - age, row)
            return
        for entry in data.get("stats", ()):
            count, failed = entry["num_requests"], entry["num_failures"]
            mean = entry["total_response_time"] / max(1, count) / 1000
            for number in range(count):
                error = "a failure without a message from its worker" if number < failed else None
                age = 3.0 * (1 - (number + 0.5) / count)  # workers report every three seconds
                self.write(now - age - mean, row_of(mean, entry["name"], entry["method"], error))
            self.estimated += count


def count(found: Counter[str], host: str) -> None:
    """Count a host, if there is one; the app controls their number and length, so both are bounded."""
    host = host[:LONGEST]
    if host:
        found[host if host in found or len(found) < KINDS else REST] += 1


def most_common(found: Counter[str]) -> dict[str, int]:
    """Return the counts of the most frequent hosts; the collective name is last."""
    return dict(sorted(found.most_common(HOSTS), key=lambda item: item[0] == REST))


def request_row(
    request_type: str, name: str, response_time: float | None, exception: Any, response: Any = None, **_: Any
) -> tuple[float, dict[str, Any]]:
    """Return the start of a request in Locust's event, and its row."""
    seconds = (response_time or 0.0) / 1000
    row = row_of(seconds, name, request_type, exception)
    host = getattr(response, ELSEWHERE, "")
    return time.monotonic() - seconds, row | ({ELSEWHERE: host} if host else {})


def row_of(seconds: float, name: str, method: str, exception: Any) -> dict[str, Any]:
    row = {"seconds": round(seconds, 4), "name": str(name)[:300], "method": str(method)[:40]}
    if exception is not None:
        row["ok"] = False
        refused = hosts.refused_host(exception)
        if refused:
            row["error"] = hosts.refusal(refused[:LONGEST])
            row["unsent"] = True
            row[REFUSED] = refused
        else:
            text = redact(str(exception), SECRETS)
            row["error"] = (f"the app: {text}" if text.startswith(OURS) else text)[:300]
            if any(words in text[:300] for words in UNSENT):
                row["unsent"] = True
    return row
