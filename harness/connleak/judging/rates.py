"""Rates with 95 % confidence intervals, and the smallest rate that a run without a leak would have shown."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

from connleak.judging.policy import CYCLES_WITHOUT_GROWTH
from connleak.model.verdict import Rate

Z = NormalDist().inv_cdf(0.975)
"""The normal quantile of a two-sided 95 % interval."""
RULE_OF_THREE = 3.0
"""-ln(0.05): without an event in n trials, the true rate is below 3/n with 95 % confidence."""


def rate(count: int, exposure: int, per: str, scale: float) -> Rate:
    """Return `count` events in `exposure` trials as a rate per `scale` trials, with its 95 % interval.

    The interval is Wilson's score interval if each trial has at most one event, and Byar's approximation of the Poisson
    interval if a trial may have more, or if the exposure is a time.
    """
    if exposure <= 0:
        return Rate(0.0, 0.0, 0.0, per, "no load")
    if per == "hour" or count > exposure:
        low, high = byar(count)
        method = "Poisson (Byar), increments between idle windows"
        low, high = low / exposure, high / exposure
    else:
        low, high = wilson(count, exposure)
        method = "Wilson score, increments between idle windows"
    return Rate(round(scale * count / exposure, 3), round(scale * low, 3), round(scale * high, 3), per, method)


def wilson(count: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion."""
    p = count / trials
    middle = p + Z * Z / (2 * trials)
    half = Z * math.sqrt(p * (1 - p) / trials + Z * Z / (4 * trials * trials))
    scale = 1 + Z * Z / trials
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def byar(count: int) -> tuple[float, float]:
    """Return the approximate 95 % interval of a Poisson count."""
    low = count * (1 - 1 / (9 * count) - Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    more = count + 1
    high = more * (1 - 1 / (9 * more) + Z / (3 * math.sqrt(more))) ** 3
    return max(0.0, low), high


def increments(levels: list[int]) -> list[int]:
    """Return the increments between successive levels."""
    return [after - before for before, after in pairwise(levels)]


def has_stopped(levels: list[int]) -> bool:
    """Return whether the last cycles in a row added nothing."""
    steps = increments(levels)
    last = steps[-CYCLES_WITHOUT_GROWTH:]
    return len(last) == CYCLES_WITHOUT_GROWTH and all(step <= 0 for step in last)


def smallest_visible(trials: int) -> float:
    """Return the smallest rate per trial that this number of trials would have shown with 95 % confidence."""
    return min(1.0, RULE_OF_THREE / trials) if trials > 0 else 1.0
