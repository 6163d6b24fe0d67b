"""Signals that end a command: each is handled like Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from connleak.model.errors import Error
from connleak.recording.redaction import hidden, hidden_value
from connleak.recording.writer import new_folder


def own_folder(name: str) -> Path:
    """Returns the folder of --out, empty; raises Error when something lies in it."""
    folder = Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Error(f"--out {name} is not an empty folder; a recording is never overwritten", f"ls {name}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"--out {name}: {error.strerror}", "connleak run ... --out DIR") from None
    return folder


def folder_for(out: str | None, stem: str) -> Path:
    """Returns the folder of --out, else a new one in reports/."""
    return own_folder(out) if out else new_folder(Path("reports"), stem)


NAMED = {"--env": "=", "--header": ":"}
"""Options whose values have a name, with what stands after it."""


def without_secrets(argv: list[str]) -> Iterator[str]:
    """Yields the words of the command line, `***` in the place of each secret; a `${NAME}` stays."""
    before = ""
    for word in argv:
        option, joined, value = word.partition("=")
        if before in NAMED:
            yield named_value(word, NAMED[before])
        elif joined and option in NAMED:
            yield f"{option}={named_value(value, NAMED[option])}"
        else:
            yield hidden(word)
        before = word


def named_value(word: str, separator: str) -> str:
    name, found, value = word.partition(separator)
    space = value[: len(value) - len(value.lstrip())]
    return f"{name}{found}{space}{hidden_value(name.strip(), value.strip())}" if found else hidden(word)


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
