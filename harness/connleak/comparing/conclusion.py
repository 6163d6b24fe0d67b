"""The comparison in words: what each arm does beside the first, and which fix works. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from connleak.judging.claims import format_number, format_rate, plural
from connleak.model.comparison import Answer, Arm, Effect

NAMES = {"throughput": "throughput", "p50": "p50", "p99": "p99", "peak": "peak sessions", "errors": "failed requests"}
"""The figures in which a fix may cost something."""
FURTHER = 1.25
"""A wall that is so many times further away, or more, is further away."""


def conclude(arms: list[Arm], effects: list[Effect]) -> tuple[Answer, str, int]:
    """Returns (outcome, the conclusion, exit code): 0 the last is fixed and no worse, 1 not, 3 undecided."""
    first, last = arms[0], arms[-1]
    told = [effect for effect in effects if effect.real]
    words = " ".join(sentences(arms, effects))
    if first.state in ("mixed", "unknown") or last.state in ("mixed", "unknown"):
        return "undecided", words, 3
    harm = [effect for effect in told if effect.arm == last.name and effect.worse and effect.metric in NAMES]
    if alike(arms, effects) and not told:
        return "no difference", words, 1 if last.state == "broken" else 0
    if last.state == "broken":
        return "not fixed", words, 1
    if harm:
        return "worse", words, 1
    return ("fixed" if first.state == "broken" else "no difference"), words, 0


def sentences(arms: list[Arm], effects: list[Effect]) -> list[str]:
    """Returns the conclusion's sentences: the first arm, those that work, those that do not, the undecided."""
    first, others = arms[0], arms[1:]
    rounds = len(first.runs)
    found = []
    if alike(arms, effects) and first.state in ("broken", "sound") and not any(effect.real for effect in effects):
        what = "all give everything back" if first.state == "sound" else f"each {does(first)}"
        often = plural(rounds, "round") if rounds > 1 else "one run each, which compares the verdicts alone"
        return [f"No difference between {spoken([arm.name for arm in arms])} in {often}: {what}."]
    if first.state == "broken":
        found.append(f"{first.name} {does(first)}.")
    works = [arm for arm in others if arm.state == "sound"]
    if works:
        price = costs(works, effects)
        verb = "gives" if len(works) == 1 else "give"
        found.append(f"{spoken([arm.name for arm in works])} {verb} everything back{of(works)}{price}.")
    found += [f"{arm.name} {arm.says}." for arm in others if arm.state == "broken"]
    open_ = [arm for arm in arms if arm.state in ("mixed", "unknown")]
    for arm in open_:
        count = max(set(arm.outcomes), key=arm.outcomes.count)
        rounds_told = f"{arm.outcomes.count(count)} of {len(arm.outcomes)} rounds say {count}"
        found.append(f"{arm.name} is undecided: {rounds_told} ({arm.why}).")
    return found


def alike(arms: list[Arm], effects: list[Effect]) -> bool:
    """Tells whether all arms got the same verdicts, of the same kinds, and meet their wall as soon as the first."""
    same = len({(arm.state, frozenset(arm.kinds)) for arm in arms}) == 1
    return same and not any(arm.state == "broken" and further_wall(arm, arms[0], effects) for arm in arms[1:])


def of(works: list[Arm]) -> str:
    """Returns in how many rounds, and how small a leak would have shown."""
    rounds = len(works[0].runs)
    worst = max(arm.sensitivity for arm in works)
    often = "the one round" if rounds == 1 else "both rounds" if rounds == 2 else f"all {rounds} rounds"
    return f" in {often} (a leak of {format_number(worst)} or more per {works[0].runs[0].per} would have shown)"


def does(arm: Arm) -> str:
    """Returns what a broken arm does, with its figures: `leaks 16 sessions, bounded by threads, at app.py:31`."""
    left = arm.figures["left"].mean if "left" in arm.figures else 0
    at = f", at {arm.site}" if arm.site else ""
    if not left and not (arm.rate and arm.rate.value):
        return f"is at fault ({', '.join(arm.kinds)}){at}"
    words = f"leaves {amount(left)} not given back"
    if arm.bounded_by:
        words += f" (bounded by {arm.bounded_by})"
    elif arm.rate and arm.rate.value:
        words += f", {format_rate(arm.rate)}"
    return words + at


def amount(sessions: float) -> str:
    return f"{sessions:.0f} session{'' if round(sessions) == 1 else 's'}"


def remark(arm: Arm, first: Arm, effects: list[Effect]) -> Arm:
    """Returns the arm with what is to be said of it beside the first one."""
    if arm.state != "broken":
        says = {"sound": "gives everything back", "mixed": "is undecided", "unknown": "could not be judged"}[arm.state]
        strained = f", but is strained ({', '.join(arm.kinds)})" if arm.kinds and arm.state == "sound" else ""
        return replace(arm, says=says + strained)
    mine = {effect.metric: effect for effect in effects if effect.arm == arm.name}
    says = does(arm)
    if first.state == "broken":
        closed = mine.get("open_transactions")
        later = further_wall(arm, first, effects)
        if closed and closed.real and closed.value < 0:
            says = f"ends its transactions, and still {does(arm)}"
        elif later:
            says = f"only moves the cliff: it still {does(arm)}, and {later}"
        elif not any(effect.real for effect in mine.values()):
            says = f"changes nothing that could be told: it {does(arm)}"
        else:
            says = f"does not help: it {does(arm)}"
    return replace(arm, says=says)


def further_wall(arm: Arm, first: Arm, effects: list[Effect]) -> str:
    """Returns how much later the arm meets its wall than the first one does; empty when that cannot be said."""
    before, after = (one.figures.get("refused_after") for one in (first, arm))
    if before and not after and not any(run.figures["refused_after"] for run in arm.runs):
        return f"no caller was turned away yet, where the first was after {before.mean:.0f} requests"
    later = next((e for e in effects if (e.arm, e.metric) == (arm.name, "refused_after")), None)
    if before and after and later and later.real and later.value > FURTHER:
        return f"the first caller is turned away after {after.mean:.0f} requests, not {before.mean:.0f}"
    if not before and not after and arm.room and first.room and arm.room > FURTHER * first.room:
        return f"its pools may open {arm.room} connections, not {first.room}, until they are full of what is kept"
    return ""


def costs(works: list[Arm], effects: list[Effect]) -> str:
    """Returns what the working arms cost beside the first one, and what could not be told."""
    prices = []
    for arm in works:
        real = [effect for effect in effects if effect.arm == arm.name and effect.worse and effect.metric in NAMES]
        prices += [f"{arm.name} costs {change(effect)} in {NAMES[effect.metric]}" for effect in real]
        if arm.kinds:
            prices.append(f"{arm.name} is strained ({', '.join(arm.kinds)})")
    known = [effect for effect in effects if effect.arm in {arm.name for arm in works} and effect.low is not None]
    if not known:
        return "; what it costs takes more than one round to tell" + (f"; {'; '.join(prices)}" if prices else "")
    if prices:
        return "; " + "; ".join(prices)
    speed = [effect for effect in known if effect.metric == "throughput"]
    if not speed:
        return ", at no cost that could be told"
    low, high = min(effect.low or 1 for effect in speed), max(effect.high or 1 for effect in speed)
    if high / low > 4:
        return "; what it costs takes more rounds to tell"
    return f", at no cost that could be told (throughput between {percent(low)} and {percent(high)})"


def change(effect: Effect) -> str:
    """Returns an effect with its interval: `-12 % (-15 to -9)` or `+3 (1 to 5)`."""
    if effect.ratio:
        ends = f" ({percent(effect.low)} to {percent(effect.high)})" if effect.low and effect.high else ""
        return percent(effect.value) + ends
    ends = f" ({effect.low:+.1f} to {effect.high:+.1f})" if effect.low is not None else ""
    return f"{effect.value:+.1f}{ends}"


def percent(ratio: float | None) -> str:
    return f"{100 * ((ratio or 1) - 1):+.0f} %"


def spoken(names: list[str]) -> str:
    """Returns names as a sentence lists them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
