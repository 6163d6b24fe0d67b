"""Signals that end a command: each is handled like Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def terminating(report: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Handle SIGTERM and SIGHUP like Ctrl-C, so that the recording can be read; call `report` at the first signal."""
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]
    received = 0

    def stop(number: int, _: object) -> None:
        nonlocal received
        received += 1
        if number == signal.SIGHUP:  # the terminal is gone, and a write to it would fail
            for fd in terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
        elif received == 1:
            report()
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
