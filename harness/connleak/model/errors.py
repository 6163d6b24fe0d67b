"""Errors with a message and the next command."""

from __future__ import annotations


class Error(Exception):
    """Something a person can meet and mend: what happened with the value that caused it, and what to type next."""

    def __init__(self, message: str, hint: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


class ProcessEnded(Error):
    """A child process that the run needs has ended."""


class Unusable(Error):
    """The app does not work, or works elsewhere: no verdict on this run could mean anything."""
