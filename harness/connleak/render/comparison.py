"""A comparison in words: for a terminal and in Markdown, the conclusion first, then a row an arm."""

from __future__ import annotations

import textwrap

from rich.table import Table
from rich.text import Text

from connleak.comparing.conclusion import spoken
from connleak.judging.claims import format_number
from connleak.model.comparison import METRICS, Arm, Comparison, Metric
from connleak.render.sanitize import CONTROLS, cell, harmless, plain
from connleak.render.text import wrapped

__all__ = ["answer", "caption", "heads", "lines", "markdown", "rows", "spoken", "table"]

STYLE = {
    "fixed": "bold white on green",
    "no difference": "bold black on white",
    "not fixed": "bold white on red",
    "worse": "bold white on red",
    "undecided": "bold black on yellow",
}


def answer(comparison: Comparison, *, where: str = "") -> Text:
    """Returns the conclusion for a terminal; the table follows it."""
    text = Text()
    last = comparison.arms[-1].name
    text.append(f" {comparison.outcome.upper()} ", STYLE[comparison.outcome])
    text.append(f" {last}, held to {comparison.arms[0].name}", "bold")
    text.append("\n\n" + wrapped(comparison.conclusion) + "\n")
    for words in comparison.unlike:
        text.append(wrapped(f"unlike: {words}") + "\n", "yellow")
    if not comparison.clear:
        text.append(wrapped("Not clear yet: more rounds (--rounds, --limit) would narrow it.") + "\n", "yellow")
    if where:
        text.append(f"\n{where}\n", "dim")
    return plain(text)


def table(comparison: Comparison) -> Table:
    """Returns the figures for a terminal, a column an arm; real differences from the first arm are marked."""
    shown = Table(box=None, pad_edge=False)
    titles = heads(comparison)
    columns = [dict(zip(titles, zip(*row, strict=True), strict=True)) for row in rows(comparison)]
    shown.add_column("")
    for column in columns:
        shown.add_column(cell(column[""][0]), overflow="fold")
    for title in titles[1:]:
        shown.add_row(
            title, *(Text(harmless(words), "bold" if mark else "") for words, mark in (c[title] for c in columns))
        )
    shown.caption = caption(comparison)
    shown.caption_justify = "left"
    return shown


def caption(comparison: Comparison) -> str:
    words = f"means of {comparison.rounds} round{'' if comparison.rounds == 1 else 's'}, in turn"
    if comparison.rounds > 1:
        words += "; * differs from the first for certain (99 % for all together)"
    return words


def shown_metrics(comparison: Comparison) -> list[Metric]:
    return [metric for metric in METRICS if any(metric.name in arm.figures for arm in comparison.arms)]


def heads(comparison: Comparison) -> list[str]:
    per = next((arm.rate.per for arm in comparison.arms if arm.rate), "1000 requests")
    metrics = [f"{m.title} ({m.unit})" if m.unit in ("%", "ms") else m.title for m in shown_metrics(comparison)]
    return ["", "verdicts", f"leaked per {per}", *metrics]


def rows(comparison: Comparison) -> list[tuple[list[str], list[bool]]]:
    """Returns each arm's cells, and which of them differ from the first arm's for certain."""
    real = {(effect.arm, effect.metric) for effect in comparison.effects if effect.real}
    found = []
    for arm in comparison.arms:
        cells, marks = [arm.name, verdicts(arm), leaked(arm)], [True, False, False]
        for metric in shown_metrics(comparison):
            figure = arm.figures.get(metric.name)
            differs = (arm.name, metric.name) in real
            cells.append("" if figure is None else number(figure.mean) + ("*" if differs else ""))
            marks.append(differs)
        found.append((cells, marks))
    return found


def verdicts(arm: Arm) -> str:
    """Returns the arm's verdicts with how often each was given."""
    counts = {outcome: arm.outcomes.count(outcome) for outcome in arm.outcomes}
    return ", ".join(outcome if len(arm.outcomes) == 1 else f"{count} {outcome}" for outcome, count in counts.items())


def leaked(arm: Arm) -> str:
    """Returns the rate with its interval, or what bounds it."""
    if arm.bounded_by:
        return f"bounded by {arm.bounded_by}"
    if arm.rate is None:
        return ""
    return f"{format_number(arm.rate.value)} ({format_number(arm.rate.low)} to {format_number(arm.rate.high)})"


def number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 or value == round(value) else f"{value:.1f}"


def lines(words: str) -> list[str]:
    """Returns a conclusion in lines for a chart's title, the first of them."""
    found = textwrap.wrap(words, 130)
    return found if len(found) <= 3 else [*found[:2], textwrap.shorten(" ".join(found[2:]), 130, placeholder=" ...")]


def markdown(comparison: Comparison) -> str:
    """Returns the comparison for a repository's browser or an issue."""
    lines = [f"**{comparison.outcome}**: {comparison.conclusion}", ""]
    titles = heads(comparison)
    lines += [f"| {' | '.join(titles)} |", "|---|---|" + "---:|" * (len(titles) - 2)]
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |" for cells, _ in rows(comparison)]
    lines += ["", caption(comparison) + "."]
    if comparison.unlike:
        lines += ["", *(f"- unlike: {words}" for words in comparison.unlike)]
    return "\n".join(lines).translate(CONTROLS) + "\n"
