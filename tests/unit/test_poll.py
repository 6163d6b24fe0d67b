"""`poll.until`: it returns once the condition holds, and otherwise names what was waited for."""

from __future__ import annotations

import time

import pytest
from connleak.processes import poll


def test_it_returns_at_once_when_the_condition_holds_already() -> None:
    poll.until(lambda: True, 0, "nothing", every=60)


def test_it_asks_again_until_the_condition_holds() -> None:
    answers = iter([False, 0, "", "yes"])
    poll.until(lambda: next(answers), 10, "the last answer", every=0)
    assert next(answers, "none left") == "none left"


def test_it_names_what_it_waited_for_and_how_long() -> None:
    with pytest.raises(poll.TimedOut, match=r"^timed out after 0\.05 s waiting for the server to answer$"):
        poll.until(lambda: False, 0.05, "the server to answer")


def test_a_condition_that_comes_true_during_the_last_pause_is_seen() -> None:
    began = time.monotonic()
    poll.until(lambda: time.monotonic() - began > 0.1, 0.05, "a tenth of a second", every=0.2)
