"""A comparison and its parts, frozen and JSON-able: `compare --json` and compare.json use these field names."""

from __future__ import annotations

from typing import Literal

from connleak.model.outcomes import Outcome
from connleak.model.struct import Struct
from connleak.model.verdict import Rate

State = Literal["broken", "sound", "mixed", "unknown"]
"""An arm's verdicts together: all leak or fault; none, and all decided; some of each; or all inconclusive."""
Answer = Literal["fixed", "not fixed", "worse", "no difference", "undecided"]


class Metric(Struct, frozen=True, kw_only=True):
    """A figure of a run. `floor` is the smallest noise that is assumed between runs."""

    name: str
    title: str
    unit: str
    ratio: bool = False
    """Whether it is compared by its quotient instead of its difference."""
    lower_is_better: bool = True
    is_cost: bool = False
    """Whether a fix that worsens it is worse."""
    floor: float


METRICS = (
    Metric(name="left", title="sessions not returned", unit="sessions", floor=0.5),
    Metric(name="at_rest", title="idle sessions", unit="sessions", floor=0.5),
    Metric(name="peak", title="peak sessions", unit="sessions", is_cost=True, floor=0.5),
    Metric(name="open_transactions", title="transactions left open", unit="sessions", floor=0.5),
    Metric(name="errors", title="failed requests", unit="%", is_cost=True, floor=0.5),
    Metric(
        name="refused_after",
        title="requests until the first refusal",
        unit="requests",
        ratio=True,
        lower_is_better=False,
        floor=0.05,
    ),
    Metric(
        name="throughput",
        title="throughput",
        unit="requests/s",
        ratio=True,
        lower_is_better=False,
        is_cost=True,
        floor=0.02,
    ),
    Metric(name="p50", title="p50", unit="ms", ratio=True, is_cost=True, floor=0.02),
    Metric(name="p99", title="p99", unit="ms", ratio=True, is_cost=True, floor=0.02),
)


class Run(Struct, frozen=True, kw_only=True):
    """The figures of one run; None for a figure that the run does not have (no requests, no throughput)."""

    folder: str
    outcome: Outcome
    kinds: tuple[str, ...] = ()
    site: str = ""
    why: str = ""
    figures: dict[str, float | None] = {}
    leaked: float = 0.0
    """Sessions leaked after the first cycle, in `amount` requests (or milliseconds of an app without requests)."""
    amount: int = 0
    per: str = "1000 requests"
    bounded_by: str = ""
    sensitivity: float = 0.0
    pool_limit: int | None = None
    """Connections that all pools of the app together may open; None if unknown or unlimited."""


class Figure(Struct, frozen=True):
    """A metric of an arm over its rounds: the mean and the range."""

    mean: float
    low: float
    high: float


class Arm(Struct, frozen=True, kw_only=True):
    """A compared variant, revision or list of runs, over all its rounds."""

    name: str
    state: State
    outcomes: tuple[Outcome, ...]
    kinds: tuple[str, ...] = ()
    site: str = ""
    why: str = ""
    figures: dict[str, Figure] = {}
    rate: Rate | None = None
    bounded_by: str = ""
    sensitivity: float = 0.0
    pool_limit: int | None = None
    summary: str = ""
    """A sentence on the arm, relative to the first one."""
    runs: tuple[Run, ...] = ()


class Effect(Struct, frozen=True, kw_only=True):
    """An arm's difference from the first arm in one metric, with its interval; a quotient where `ratio`.

    `low` and `high` are None if each arm has only one run.
    """

    arm: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    ratio: bool = False
    real: bool = False
    worse: bool = False


class DifferingCondition(Struct, frozen=True, kw_only=True):
    """A condition other than the compared ones that differs between runs, such as the number of users."""

    name: str
    values: dict[str, tuple[str, ...]]
    """The arms that have each value."""
    forbids: bool = False
    """Whether figures of such runs cannot be compared."""


class Comparison(Struct, frozen=True, kw_only=True):
    """Whether the fix works: the arms, their differences from the first, differing conditions, and the conclusion."""

    outcome: Answer
    conclusion: str
    exit_code: int
    arms: tuple[Arm, ...]
    effects: tuple[Effect, ...] = ()
    differing_conditions: tuple[DifferingCondition, ...] = ()
    rounds: int = 1
    clear: bool = True
    """Whether another round could not change the answer."""
