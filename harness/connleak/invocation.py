"""What every command has around it: an empty folder, what must be installed, no secrets in what is written, signals."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from connleak.model import Error


def own_folder(name: str) -> Path:
    """Returns the folder of --out, empty; raises Error when something lies in it."""
    folder = Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Error(f"--out {name} is not an empty folder; a recording is never overwritten", f"ls {name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"--out {name}: {error.strerror}", "connleak run ... --out DIR") from None
    return folder


def need_lab(load: str) -> None:
    """Raises Error with what to install when the packages for running are missing."""
    from importlib.util import find_spec

    needed = {"altair": "altair", "vl_convert": "vl-convert-python"} | ({"locust": "locust"} if load != "none" else {})
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        raise Error(
            f"running needs {', '.join(missing)}, not installed here", "pip install 'connleak[lab]'", exit_code=4
        )


def without_secrets(argv: list[str]) -> Iterator[str]:
    """Yields the words of the command line, passwords in addresses and values of --env left out."""
    hide_next = False
    for word in argv:
        scheme, found, rest = word.partition("://")
        login, at, place = rest.rpartition("@")
        if hide_next or word.startswith("--env="):
            name, _, _ = word.removeprefix("--env=").partition("=")
            yield f"{'--env=' if word.startswith('--env=') else ''}{name}=***"
        elif found and at and ":" in login:
            yield f"{scheme}://{login.partition(':')[0]}:***@{place}"
        else:
            yield word
        hide_next = word == "--env"


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into what Ctrl-C does: an orderly end with a readable recording."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
