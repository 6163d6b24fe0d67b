"""Rates with intervals: lists of numbers in, a Rate out; and what a clean run could not have missed."""

from __future__ import annotations

import math
from itertools import pairwise

from connleak.model.verdict import Rate

Z = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""
RULE_OF_THREE = 3.0
"""-ln(0.05): with none seen in n, the true rate is below 3/n with 95 % confidence."""


def rate(count: int, amount: int, per: str, scale: float) -> Rate:
    """Returns `count` in `amount` trials as a rate per `scale` trials, with its 95 % interval.

    Wilson's score interval where each trial leaks at most once; Byar's approximation of Poisson's where one trial
    may leak more than once, or where time takes the place of trials.
    """
    if amount <= 0:
        return Rate(0.0, 0.0, 0.0, per, "no load")
    if per == "hour" or count > amount:
        low, high = byar(count)
        method = "Poisson (Byar), increments between quiets"
        low, high = low / amount, high / amount
    else:
        low, high = wilson(count, amount)
        method = "Wilson score, increments between quiets"
    return Rate(round(scale * count / amount, 3), round(scale * low, 3), round(scale * high, 3), per, method)


def wilson(count: int, trials: int) -> tuple[float, float]:
    """Returns the 95 % score interval of a proportion."""
    p = count / trials
    middle = p + Z * Z / (2 * trials)
    half = Z * math.sqrt(p * (1 - p) / trials + Z * Z / (4 * trials * trials))
    scale = 1 + Z * Z / trials
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def byar(count: int) -> tuple[float, float]:
    """Returns the approximate 95 % interval of a Poisson count."""
    low = count * (1 - 1 / (9 * count) - Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    more = count + 1
    high = more * (1 - 1 / (9 * more) + Z / (3 * math.sqrt(more))) ** 3
    return max(0.0, low), high


def increments(levels: list[int]) -> list[int]:
    """Returns the steps between successive levels."""
    return [after - before for before, after in pairwise(levels)]


def has_stopped(levels: list[int]) -> bool:
    """Tells whether two cycles in a row added nothing."""
    steps = increments(levels)
    return len(steps) >= 2 and all(step <= 0 for step in steps[-2:])


def smallest_visible(trials: int) -> float:
    """Returns the rate per trial that a run of so many trials would have shown with 95 % confidence."""
    return min(1.0, RULE_OF_THREE / trials) if trials > 0 else 1.0


def requests_for(rate: float) -> int:
    """Returns how many requests it takes until a leak of this rate would have shown with 95 % confidence."""
    return math.ceil(RULE_OF_THREE / max(rate, 1e-12) - 1e-9)


def unit_of(seconds: float) -> tuple[str, float]:
    """Returns (name, seconds) of the largest unit of time of which there are two."""
    units = (("days", 86400.0), ("h", 3600.0), ("min", 60.0))
    return next((unit for unit in units if seconds >= 2 * unit[1]), ("s", 1.0))


def compact(value: float) -> str:
    """Returns a rate as people write it: 1000, 12.5, 0.04."""
    if value >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def spoken(found: Rate) -> str:
    """Returns a rate with its interval as a sentence's part."""
    return f"{compact(found.value)} ({compact(found.low)} to {compact(found.high)}) per {found.per}"
