"""The figures of a run, and of an arm over all its rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from connleak.judging.facts import Facts, unit
from connleak.judging.rates import rate as rate_of
from connleak.model.comparison import METRICS, Arm, Figure, Metric, Run, State
from connleak.model.outcomes import BROKEN, KINDS, Outcome
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict


def measure(recording: Recording, verdict: Verdict) -> Run:
    """Return the figures of a run."""
    facts = Facts(recording)
    leaks = [finding for finding in verdict.findings if KINDS[finding.kind].outcome == "leak"]
    per, scale = unit(facts)
    amount = sum(facts.exposures[1:])
    growing = [finding.rate.value for finding in leaks if finding.rate and not finding.bounded_by]
    last = facts.last
    refusals = [event.t for event in facts.events("timeout", "refused")]
    site = next((str(finding.sites[0]) for finding in verdict.findings if finding.sites), "")
    answered = sorted(request.seconds for request in recording.requests if request.ok)
    loaded = sum((phase.end or phase.begin) - phase.begin for phase in recording.phases if phase.name == "load")
    count = len(recording.requests)
    return Run(
        folder=recording.folder,
        outcome=verdict.outcome,
        kinds=tuple(finding.kind for finding in verdict.findings),
        site=site,
        why=verdict.sentence,
        figures={
            "left": len({backend for finding in leaks for backend in finding.backends}),
            "at_rest": last.level if last else None,
            "peak": max((len(sample.backends) for sample in recording.samples), default=0),
            "open_transactions": sum(last.in_transaction(pid) for pid in last.present_throughout) if last else None,
            "errors": 100 * (count - len(answered)) / count if count else None,
            "refused_after": max(1, facts.exposure(0.0, min(refusals))) if refusals else None,
            "throughput": len(answered) / loaded if answered and loaded else None,
            "p50": 1000 * quantile(answered, 0.5) if answered else None,
            "p99": 1000 * quantile(answered, 0.99) if answered else None,
        },
        leaked=sum(growing) * amount / scale,
        amount=amount,
        per=per,
        bounded_by=next((finding.bounded_by for finding in leaks if finding.bounded_by), ""),
        sensitivity=verdict.sensitivity.get("value", 0.0),
        pool_limit=pool_limit(facts),
    )


def pool_limit(facts: Facts) -> int | None:
    """Return how many connections the app's used pools together may open; None if one is unlimited or none is known."""
    snapshot = facts.last.snapshot if facts.last else None
    pools = [pool for pool in snapshot.pools if pool.pool and pool.used] if snapshot else []
    limits = [pool.size + pool.max_overflow for pool in pools if pool.size > 0 and pool.max_overflow >= 0]
    return sum(limits) if limits and len(limits) == len(pools) else None


def quantile(ordered: list[float], part: float) -> float:
    """Return the nearest-rank quantile of sorted values."""
    return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)]


def arm_of(name: str, runs: list[Run]) -> Arm:
    """Return an arm with its figures over all rounds."""
    figures = {}
    for metric in METRICS:
        values = values_of(runs, metric)
        if values:
            figures[metric.name] = Figure(fmean(values), min(values), max(values))
    per = runs[0].per
    amount = sum(run.amount for run in runs)
    leaking = [run for run in runs if "leak" in {KINDS[kind].outcome for kind in run.kinds}]
    bounds = [run.bounded_by for run in leaking if run.bounded_by]
    found = rate_of(round(sum(run.leaked for run in runs)), amount, per, 1000.0 if per != "hour" else 3_600_000.0)
    worst = next((run for run in runs if run.outcome in BROKEN), runs[0])
    return Arm(
        name=name,
        state=state_of([run.outcome for run in runs]),
        outcomes=tuple(run.outcome for run in runs),
        kinds=tuple(dict.fromkeys(kind for run in runs for kind in run.kinds)),
        site=worst.site,
        why=worst.why,
        figures=figures,
        rate=found if amount else None,
        bounded_by=bounds[0] if len(bounds) * 2 > len(leaking) else "",
        pool_limit=max((run.pool_limit for run in runs if run.pool_limit is not None), default=None),
        sensitivity=max(run.sensitivity for run in runs) / len(runs),
        runs=tuple(runs),
    )


def state_of(outcomes: list[Outcome]) -> State:
    """Return the state that the outcomes of all rounds amount to."""
    bad = sum(outcome in BROKEN for outcome in outcomes)
    undecided = sum(outcome == "inconclusive" for outcome in outcomes)
    if bad == len(outcomes):
        return "broken"
    if not bad and not undecided:
        return "sound"
    return "unknown" if undecided == len(outcomes) else "mixed"


def values_of(runs: Sequence[Run], metric: Metric) -> list[float]:
    """Return a metric's values over the rounds; an empty list if a run lacks it."""
    values = [value for run in runs if (value := run.figures.get(metric.name)) is not None]
    return values if len(values) == len(runs) else []
