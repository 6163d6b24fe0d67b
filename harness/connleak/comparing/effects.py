"""Differences of each arm from the first, with intervals; a difference is real if its interval excludes zero.

The noise between runs is pooled over all arms, with a floor at the resolution of one run. The error probability FAMILY
is divided among all metrics of all arms.
"""

from __future__ import annotations

import math
from statistics import fmean

from connleak.comparing.figures import values_of
from connleak.model.comparison import METRICS, Arm, Effect, Metric
from connleak.model.errors import Error

FAMILY = 0.01
"""Probability that any metric shows a difference between arms that do not differ."""
WORSE = 1.05
"""A real difference below this ratio is reported, but does not make a fix worse."""
CLEAR = 0.25
"""The throughput's difference is known well enough if its interval extends at most this far to either side."""


def effects_of(arms: list[Arm]) -> list[Effect]:
    """Return the differences of each later arm from the first, in every metric that both have."""
    compared = [m for m in METRICS if sum(bool(values_of(arm.runs, m)) for arm in arms) > 1]
    claims = max(1, len(compared) * (len(arms) - 1))
    found = []
    for metric in compared:
        scaled = {arm.name: [scale(value, metric) for value in values_of(arm.runs, metric)] for arm in arms}
        noise, freedom = pooled(list(scaled.values()), metric.floor)
        base = scaled[arms[0].name]
        for arm in arms[1:]:
            values = scaled[arm.name]
            if values and base:
                half = student(FAMILY / claims, freedom) * noise * math.sqrt(1 / len(values) + 1 / len(base))
                found.append(effect(arm.name, metric, fmean(values) - fmean(base), half if freedom else None))
    return found


def scale(value: float, metric: Metric) -> float:
    return math.log(max(value, 1e-6)) if metric.ratio else value


def pooled(groups: list[list[float]], floor: float) -> tuple[float, int]:
    """Return the standard deviation within groups, at least `floor`, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups if group)
    squares = sum((value - fmean(group)) ** 2 for group in groups if group for value in group)
    return max(floor, math.sqrt(squares / freedom)) if freedom else floor, freedom


def student(probability: float, freedom: int) -> float:
    """Return Student's two-sided quantile; scipy is imported on first use, since its import takes half a second."""
    if not freedom:
        return 0.0
    try:
        from scipy.special import stdtrit
    except ImportError:
        message = "comparing rounds needs scipy, not installed here"
        raise Error(message, "pip install 'connleak[lab]'", exit_code=4) from None
    return float(stdtrit(freedom, 1 - probability / 2))


def effect(arm: str, metric: Metric, value: float, half: float | None) -> Effect:
    """Return an effect; the logarithm of a ratio becomes its quotient again."""
    ends = (value - half, value + half) if half is not None else (None, None)
    real = half is not None and abs(value) > half
    harm = value if metric.lower_is_better else -value
    big = not metric.ratio or abs(value) >= math.log(WORSE)
    low, high = (end if end is None or not metric.ratio else math.exp(end) for end in ends)
    return Effect(
        arm=arm,
        metric=metric.name,
        value=math.exp(value) if metric.ratio else value,
        low=low,
        high=high,
        ratio=metric.ratio,
        real=real,
        worse=real and harm > 0 and big,
    )


def is_clear(arms: list[Arm], effects: list[Effect]) -> bool:
    """Return whether each arm's rounds agree, and each throughput difference is real or known to be small."""
    if any(arm.state in ("mixed", "unknown") for arm in arms):
        return False
    for found in effects:
        if found.metric == "throughput" and not found.real:
            if found.low is None or found.high is None:
                return False
            if found.high > 1 + CLEAR or found.low < 1 / (1 + CLEAR):
                return False
    return True
