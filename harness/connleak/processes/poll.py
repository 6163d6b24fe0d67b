"""Wait until a condition holds."""

from __future__ import annotations

import time
from collections.abc import Callable


class TimedOut(Exception):
    """A condition did not hold in time; the message names it."""


def until(condition: Callable[[], object], timeout: float, what: str, every: float = 0.02) -> None:
    """Return once the condition holds; raise TimedOut after `timeout` seconds.

    The condition is checked at least once, and once more after the timeout. `what` names it: "the server to answer".
    """
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() >= deadline
        if condition():
            return
        if late:
            raise TimedOut(f"timed out after {timeout:g} s waiting for {what}")
        time.sleep(every)
