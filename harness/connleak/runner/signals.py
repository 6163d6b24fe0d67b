"""What every command has around it: an empty folder, what must be installed, no secrets in what is written, signals."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from connleak.model.errors import Error


def need_lab(load: str, *, comparing: bool = False) -> None:
    """Raise Error with the command to install them if packages for running, or for comparing, are missing."""
    from importlib.util import find_spec

    needed = {"altair": "altair", "vl_convert": "vl-convert-python"} | ({"locust": "locust"} if load != "none" else {})
    needed |= {"scipy": "scipy"} if comparing else {}
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        purpose = "comparing" if comparing else "running"
        raise Error(
            f"{purpose} needs {', '.join(missing)}, not installed here", "pip install 'connleak[lab]'", exit_code=4
        )


@contextlib.contextmanager
def terminating(told: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into what Ctrl-C does, which is told once: an orderly end with a readable recording."""
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]
    times = 0

    def stop(number: int, _: object) -> None:
        nonlocal times
        times += 1
        if number == signal.SIGHUP:  # a terminal that is gone takes no words
            for fd in terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
        elif times == 1:
            told()
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
