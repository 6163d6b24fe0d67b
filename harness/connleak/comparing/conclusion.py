"""The comparison as sentences: the result of each arm relative to the first, and which fix works."""

from __future__ import annotations

from msgspec.structs import replace

from connleak.judging.claims import format_number, format_rate, plural
from connleak.model.comparison import METRICS, Answer, Arm, Effect, State

COSTS = {metric.name: metric.title for metric in METRICS if metric.is_cost}
"""The metrics that a fix may worsen, with their titles."""
POSTPONED = 1.25
"""Exhaustion is postponed if it comes at least this many times later."""
KNOWN_COST = 4.0
"""The cost is known if the upper end of the throughput's interval is at most this many times the lower end."""
SUMMARIES: dict[State, str] = {
    "sound": "returns every connection",
    "mixed": "is undecided",
    "unknown": "could not be judged",
}


def conclude(arms: list[Arm], effects: list[Effect]) -> tuple[Answer, str, int]:
    """Return (outcome, conclusion, exit code): 0 if the last arm is fixed and not worse, 1 if not, 3 if undecided."""
    first, last = arms[0], arms[-1]
    real = [effect for effect in effects if effect.real]
    conclusion = " ".join(sentences(arms, effects))
    if first.state in ("mixed", "unknown") or last.state in ("mixed", "unknown"):
        return "undecided", conclusion, 3
    harm = [effect for effect in real if effect.arm == last.name and effect.worse and effect.metric in COSTS]
    if alike(arms, effects) and not real:
        return "no difference", conclusion, 1 if last.state == "broken" else 0
    if last.state == "broken":
        return "not fixed", conclusion, 1
    if harm:
        return "worse", conclusion, 1
    return ("fixed" if first.state == "broken" else "no difference"), conclusion, 0


def sentences(arms: list[Arm], effects: list[Effect]) -> list[str]:
    """Return the conclusion's sentences: the first arm, the arms that work, those that do not, the undecided ones."""
    first, others = arms[0], arms[1:]
    if alike(arms, effects) and first.state in ("broken", "sound") and not any(effect.real for effect in effects):
        return [no_difference(arms)]
    found = []
    if first.state == "broken":
        found.append(f"{first.name} {describe_failure(first)}.")
    working = [arm for arm in others if arm.state == "sound"]
    if working:
        verb = "returns" if len(working) == 1 else "return"
        names = format_list([arm.name for arm in working])
        found.append(f"{names} {verb} every connection{confidence(working)}{costs(working, effects)}.")
    found += [f"{arm.name} {arm.summary}." for arm in others if arm.state == "broken"]
    for arm in (arm for arm in arms if arm.state in ("mixed", "unknown")):
        usual = max(set(arm.outcomes), key=arm.outcomes.count)
        rounds = f"{arm.outcomes.count(usual)} of {plural(len(arm.outcomes), 'round')} gave {usual}"
        found.append(f"{arm.name} is undecided: {rounds} ({arm.why}).")
    return found


def no_difference(arms: list[Arm]) -> str:
    """Return the sentence for arms that are all alike."""
    first = arms[0]
    rounds = len(first.runs)
    result = "all return every connection" if first.state == "sound" else f"each {describe_failure(first)}"
    often = plural(rounds, "round") if rounds > 1 else "one run each, which compares only the verdicts"
    return f"No difference between {format_list([arm.name for arm in arms])} in {often}: {result}."


def alike(arms: list[Arm], effects: list[Effect]) -> bool:
    """Return whether all arms have the same verdicts and kinds, and none postpones exhaustion."""
    same = len({(arm.state, frozenset(arm.kinds)) for arm in arms}) == 1
    return same and not any(arm.state == "broken" and postponed(arm, arms[0], effects) for arm in arms[1:])


def confidence(working: list[Arm]) -> str:
    """Return the number of rounds, and the smallest leak that they would have detected."""
    rounds = len(working[0].runs)
    smallest = max(arm.sensitivity for arm in working)
    often = "the one round" if rounds == 1 else "both rounds" if rounds == 2 else f"all {rounds} rounds"
    per = working[0].runs[0].per
    return f" in {often} (a leak of {format_number(smallest)} or more per {per} would have been detected)"


def describe_failure(arm: Arm) -> str:
    """Return a broken arm's failure with its figures: `does not return 16 sessions (...), checked out at app.py:31`."""
    unreturned = arm.figures["left"].mean if "left" in arm.figures else 0
    if not unreturned and not (arm.rate and arm.rate.value):
        return f"has faults ({', '.join(arm.kinds)})" + (f" at {arm.site}" if arm.site else "")
    text = f"does not return {sessions(unreturned)}"
    if arm.bounded_by:
        text += f" (bounded by {arm.bounded_by})"
    elif arm.rate and arm.rate.value:
        text += f", {format_rate(arm.rate)}"
    return text + (f", checked out at {arm.site}" if arm.site else "")


def sessions(count: float) -> str:
    return plural(round(count), "session")


def describe_arm(arm: Arm, first: Arm, effects: list[Effect]) -> Arm:
    """Return the arm with its summary relative to the first arm."""
    if arm.state != "broken":
        strained = f", but is strained ({', '.join(arm.kinds)})" if arm.kinds and arm.state == "sound" else ""
        return replace(arm, summary=SUMMARIES[arm.state] + strained)
    own = {effect.metric: effect for effect in effects if effect.arm == arm.name}
    summary = describe_failure(arm)
    if first.state == "broken":
        transactions = own.get("open_transactions")
        later = postponed(arm, first, effects)
        if transactions and transactions.real and transactions.value < 0:
            summary = f"ends its transactions, but still {summary}"
        elif later:
            summary = f"only postpones exhaustion: it still {summary}, and {later}"
        elif not any(effect.real for effect in own.values()):
            summary = f"makes no measurable difference: it {summary}"
        else:
            summary = f"does not help: it {summary}"
    return replace(arm, summary=summary)


def postponed(arm: Arm, first: Arm, effects: list[Effect]) -> str:
    """Return how much later the arm is exhausted than the first one; empty if that is not known."""
    before, after = (one.figures.get("refused_after") for one in (first, arm))
    if before and not after and not any(run.figures["refused_after"] for run in arm.runs):
        return f"no caller is refused, while {first.name} refuses the first after {before.mean:.0f} requests"
    later = next((e for e in effects if (e.arm, e.metric) == (arm.name, "refused_after")), None)
    if before and after and later and later.real and later.value > POSTPONED:
        return f"the first caller is refused after {after.mean:.0f} requests instead of {before.mean:.0f}"
    larger = arm.pool_limit and first.pool_limit and arm.pool_limit > POSTPONED * first.pool_limit
    if not before and not after and larger:
        return f"its pools open up to {arm.pool_limit} connections instead of {first.pool_limit}"
    return ""


def costs(working: list[Arm], effects: list[Effect]) -> str:
    """Return the cost of the working arms relative to the first one, or that it cannot be measured yet."""
    prices = []
    for arm in working:
        worse = [effect for effect in effects if effect.arm == arm.name and effect.worse and effect.metric in COSTS]
        if worse:
            changes = format_list([f"{COSTS[effect.metric]} by {change(effect)}" for effect in worse])
            prices.append(f"{arm.name} changes {changes}")
        if arm.kinds:
            prices.append(f"{arm.name} is strained ({', '.join(arm.kinds)})")
    names = {arm.name for arm in working}
    known = [effect for effect in effects if effect.arm in names and effect.low is not None]
    if not known:
        return "; ".join(["", "the cost cannot be measured in one round", *prices])
    if prices:
        return "; ".join(["", *prices])
    throughput = [effect for effect in known if effect.metric == "throughput"]
    if not throughput:
        return ", at no measurable cost"
    low, high = min(effect.low or 1 for effect in throughput), max(effect.high or 1 for effect in throughput)
    if high / low > KNOWN_COST:
        return "; measuring the cost takes more rounds"
    return f", at no measurable cost (throughput between {percent(low)} and {percent(high)})"


def change(effect: Effect) -> str:
    """Return an effect with its interval: `-12 % (-15 % to -9 %)` or `+3.0 (+1.0 to +5.0)`."""
    if effect.ratio:
        ends = f" ({percent(effect.low)} to {percent(effect.high)})" if effect.low and effect.high else ""
        return percent(effect.value) + ends
    ends = f" ({effect.low:+.1f} to {effect.high:+.1f})" if effect.low is not None else ""
    return f"{effect.value:+.1f}{ends}"


def percent(ratio: float | None) -> str:
    return f"{100 * ((ratio or 1) - 1):+.0f} %"


def format_list(names: list[str]) -> str:
    """Return names as `one`, `one and two`, or `one, two and three`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
