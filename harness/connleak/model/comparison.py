"""What a comparison is made of, frozen and JSON-able: `compare --json` and compare.json use these field names."""

from __future__ import annotations

from typing import Literal

from connleak.model.outcomes import Outcome
from connleak.model.struct import Struct
from connleak.model.verdict import Rate

State = Literal["broken", "sound", "mixed", "unknown"]
"""What an arm's verdicts say together: leak or fault each time, never, now and then, or all inconclusive."""
Answer = Literal["fixed", "not fixed", "worse", "no difference", "undecided"]


class Metric(Struct, frozen=True, kw_only=True):
    """A figure of a run. `ratio`: compared by its quotient; `floor`: the smallest noise that is believed."""

    name: str
    title: str
    unit: str
    ratio: bool = False
    lower_is_better: bool = True
    floor: float


METRICS = (
    Metric(name="left", title="sessions not given back", unit="sessions", floor=0.5),
    Metric(name="at_rest", title="sessions at rest", unit="sessions", floor=0.5),
    Metric(name="peak", title="peak sessions", unit="sessions", floor=0.5),
    Metric(name="open_transactions", title="transactions left open", unit="sessions", floor=0.5),
    Metric(name="errors", title="failed requests", unit="%", floor=0.5),
    Metric(
        name="refused_after",
        title="requests until the first refusal",
        unit="requests",
        ratio=True,
        lower_is_better=False,
        floor=0.05,
    ),
    Metric(name="throughput", title="requests a second", unit="/s", ratio=True, lower_is_better=False, floor=0.02),
    Metric(name="p50", title="p50", unit="ms", ratio=True, floor=0.02),
    Metric(name="p99", title="p99", unit="ms", ratio=True, floor=0.02),
)


class Run(Struct, frozen=True, kw_only=True):
    """The figures of one run; None where it has none (an app without requests has no throughput)."""

    folder: str
    outcome: Outcome
    kinds: tuple[str, ...] = ()
    site: str = ""
    why: str = ""
    figures: dict[str, float | None] = {}
    leaked: float = 0.0
    """Sessions lost after the first cycle, of `amount` requests (or milliseconds of a job-only app)."""
    amount: int = 0
    per: str = "1000 requests"
    bounded_by: str = ""
    sensitivity: float = 0.0
    room: int | None = None
    """Connections that the app's pools may open in all; None where that is not known, or has no limit."""


class Figure(Struct, frozen=True):
    """A metric of an arm over its rounds: the mean and the range."""

    mean: float
    low: float
    high: float


class Arm(Struct, frozen=True, kw_only=True):
    """One thing that is compared, over all its rounds."""

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
    room: int | None = None
    says: str = ""
    runs: tuple[Run, ...] = ()


class Effect(Struct, frozen=True, kw_only=True):
    """How an arm differs from the first one: `value` is a difference, or a quotient where `ratio`; with its interval.

    `low` and `high` are None where one run each cannot tell.
    """

    arm: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    ratio: bool = False
    real: bool = False
    worse: bool = False


class Comparison(Struct, frozen=True, kw_only=True):
    """Did the fix work: the arms, how they differ from the first, what is unlike besides, and the conclusion."""

    outcome: Answer
    conclusion: str
    exit_code: int
    arms: tuple[Arm, ...]
    effects: tuple[Effect, ...] = ()
    unlike: tuple[str, ...] = ()
    rounds: int = 1
    clear: bool = True
    """Whether another round could not change the answer."""
