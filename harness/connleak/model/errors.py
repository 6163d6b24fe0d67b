"""Errors with a message and the next command."""

from __future__ import annotations


class Error(Exception):
    """A problem that the user can resolve: a message with the value that caused it, and the next command."""

    def __init__(self, message: str, hint: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


class ProcessEnded(Error):
    """A child process that the run needs has ended."""


class Unusable(Error):
    """The app does not work, or uses another server, so a verdict on this run would mean nothing."""
