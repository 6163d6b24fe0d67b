"""How each arm differs from the first, with intervals. A difference is real when its interval leaves out none.

The noise between runs is pooled over all arms, and never taken for smaller than what one run can resolve; Student's
interval shares FAMILY among all figures of all arms.
"""

from __future__ import annotations

import math
from statistics import fmean

from connleak.comparing.figures import values_of
from connleak.model.comparison import METRICS, Arm, Effect, Metric

FAMILY = 0.01
"""Probability that arms which do not differ are told apart by any figure: it is shared among all that are compared."""
WORSE = 1.05
"""A real difference of less than this ratio is told, and does not make a fix worse."""
CLEAR = 0.25
"""The throughput's difference is known well enough when its interval reaches no further than this to either side."""


def effects_of(arms: list[Arm]) -> list[Effect]:
    """Returns how each later arm differs from the first, for every metric that both have."""
    compared = [m for m in METRICS if sum(bool(values_of(arm.runs, m)) for arm in arms) > 1]
    claims = max(1, len(compared) * (len(arms) - 1))
    found = []
    for metric in compared:
        scaled = {arm.name: [scale(value, metric) for value in values_of(arm.runs, metric)] for arm in arms}
        noise, freedom = pooled(list(scaled.values()), metric.floor)
        base = scaled[arms[0].name]
        for arm in arms[1:]:
            mine = scaled[arm.name]
            if mine and base:
                half = student(FAMILY / claims, freedom) * noise * math.sqrt(1 / len(mine) + 1 / len(base))
                found.append(effect(arm.name, metric, fmean(mine) - fmean(base), half if freedom else None))
    return found


def scale(value: float, metric: Metric) -> float:
    return math.log(max(value, 1e-6)) if metric.ratio else value


def pooled(groups: list[list[float]], floor: float) -> tuple[float, int]:
    """Returns the standard deviation within groups, at least `floor`, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups if group)
    squares = sum((value - fmean(group)) ** 2 for group in groups if group for value in group)
    return max(floor, math.sqrt(squares / freedom)) if freedom else floor, freedom


def student(probability: float, freedom: int) -> float:
    """Returns Student's two-sided quantile; scipy is imported late, since it takes half a second."""
    if not freedom:
        return 0.0
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - probability / 2))


def effect(arm: str, metric: Metric, value: float, half: float | None) -> Effect:
    """Returns an effect, quotients back from their logarithms."""
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
    """Tells whether each arm's rounds agree, and the throughput's differences are real or known to be small."""
    if any(arm.state in ("mixed", "unknown") for arm in arms):
        return False
    for found in effects:
        if found.metric == "throughput" and not found.real:
            if found.low is None or found.high is None:
                return False
            if found.high > 1 + CLEAR or found.low < 1 / (1 + CLEAR):
                return False
    return True
