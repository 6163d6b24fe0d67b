"""The load of a session: its protocol, its counts, and the null object of a session that sends no requests."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from connleak.model.struct import Struct
from connleak.processes.decoding import Count
from connleak.processes.part import NullPart, Part

HostCounts = Annotated[dict[Annotated[str, Meta(max_length=300)], Count], Meta(max_length=100)]


class Outside(Struct, frozen=True):
    """The other hosts of redirects that were not followed and of requests that were refused, each with a count."""

    redirects: HostCounts = {}
    refused: HostCounts = {}


class LoadStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The counts of the load since it began."""

    users: Count = 0
    requests: Count = 0
    failures: Count = 0
    estimated: Count = 0
    elsewhere: Outside = Outside()
    cut: bool = False
    """Whether the last stop interrupted requests."""


class Load(Part, Protocol):
    """The load's place in a session."""

    status: LoadStatus

    def start(self) -> None:
        """Start all users at once."""

    def stop(self) -> LoadStatus:
        """End the load without interrupting a request; return its counts."""


class NoLoad(NullPart):
    """The load of a session in which connleak sends no requests."""

    def __init__(self) -> None:
        self.status = LoadStatus()

    def start(self) -> None:
        pass

    def stop(self) -> LoadStatus:
        return self.status
