"""The protocol of a session's parts, such as the app and the load."""

from __future__ import annotations

from typing import Protocol, Self


class Checked(Protocol):
    """A part whose failure ends the session."""

    def check(self) -> None:
        """Raise Error if the part has failed."""


class Part(Checked, Protocol):
    """A part that is started, and stopped at the end."""

    def __enter__(self) -> Self:
        """Start; the part may be ready only later."""

    def wait_until_ready(self, timeout: float = 30) -> None:
        """Wait until the part can be used; raise Error if it fails or takes longer than `timeout` seconds."""

    def __exit__(self, *exc: object) -> None: ...


class NullPart:
    """The part of a session that has none: always ready, and never failed."""

    def __enter__(self) -> Self:
        return self

    def wait_until_ready(self, timeout: float = 30) -> None:
        pass

    def check(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass
