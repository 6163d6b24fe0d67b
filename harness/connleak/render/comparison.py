"""A comparison as text for a terminal and as Markdown: the conclusion first, then a table of figures."""

from __future__ import annotations

import textwrap

from rich.table import Table
from rich.text import Text

from connleak.comparing.conclusion import format_list
from connleak.comparing.conditions import format_condition
from connleak.judging.claims import format_number
from connleak.model.comparison import METRICS, Answer, Arm, Comparison, Metric
from connleak.render.sanitize import CONTROLS, cell, harmless, plain
from connleak.render.text import badge, wrapped

__all__ = ["answer", "caption", "format_list", "markdown", "row_titles", "rows", "subtitle", "table", "warnings"]

COLOURS: dict[Answer, tuple[str, str]] = {
    "fixed": ("green", "white"),
    "no difference": ("white", "black"),
    "not fixed": ("red", "white"),
    "worse": ("red", "white"),
    "undecided": ("yellow", "black"),
}
"""Background and text colour of each answer."""
SUBTITLE_WIDTH, SUBTITLE_LINES = 130, 3


def answer(comparison: Comparison, *, where: str = "") -> Text:
    """Return the conclusion for a terminal; the table follows it."""
    text = Text().append_text(badge(comparison.outcome, *COLOURS[comparison.outcome]))
    text.append(f" {comparison.arms[-1].name} compared with {comparison.arms[0].name}", "bold")
    text.append("\n\n" + wrapped(comparison.conclusion) + "\n")
    for warning in warnings(comparison):
        text.append(wrapped(warning) + "\n", "yellow")
    if where:
        text.append(f"\n{where}\n", "dim")
    return plain(text)


def warnings(comparison: Comparison) -> list[str]:
    """Return the sentences that limit the conclusion: differing conditions, and too few rounds."""
    found = [f"Differs between the runs: {format_condition(each)}" for each in comparison.differing_conditions]
    if not comparison.clear:
        found.append("Not clear yet: more rounds (--rounds, --limit) would narrow the intervals.")
    return found


def table(comparison: Comparison) -> Table:
    """Return the figures for a terminal, a column per arm; real differences from the first arm are marked."""
    shown = Table(box=None, pad_edge=False)
    titles = row_titles(comparison)
    columns = [dict(zip(titles, zip(*row, strict=True), strict=True)) for row in rows(comparison)]
    shown.add_column("")
    for column in columns:
        shown.add_column(cell(column[""][0]), overflow="fold")
    for title in titles[1:]:
        shown.add_row(
            title, *(Text(harmless(text), "bold" if mark else "") for text, mark in (c[title] for c in columns))
        )
    shown.caption = caption(comparison)
    shown.caption_justify = "left"
    return shown


def caption(comparison: Comparison) -> str:
    """Return the note on the table's figures and marks."""
    if comparison.rounds == 1:
        return "figures of 1 round"
    return (
        f"means of {comparison.rounds} alternating rounds; "
        "* differs from the first arm (99 % confidence over all figures together)"
    )


def shown_metrics(comparison: Comparison) -> list[Metric]:
    return [metric for metric in METRICS if any(metric.name in arm.figures for arm in comparison.arms)]


def row_titles(comparison: Comparison) -> list[str]:
    """Return the titles of an arm's cells."""
    per = next((arm.rate.per for arm in comparison.arms if arm.rate), "1000 requests")
    return ["", "verdicts", f"leaked per {per}", *map(title_of, shown_metrics(comparison))]


def title_of(metric: Metric) -> str:
    """Return a metric's title with its unit, except for a count of sessions or requests."""
    return metric.title if metric.unit in ("sessions", "requests") else f"{metric.title} ({metric.unit})"


def rows(comparison: Comparison) -> list[tuple[list[str], list[bool]]]:
    """Return each arm's cells, and which of them are marked: its name and its real differences from the first arm."""
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
    """Return the arm's verdicts with the number of rounds that gave each."""
    counts = {outcome: arm.outcomes.count(outcome) for outcome in arm.outcomes}
    return ", ".join(outcome if len(arm.outcomes) == 1 else f"{count} {outcome}" for outcome, count in counts.items())


def leaked(arm: Arm) -> str:
    """Return the leak rate with its interval, or its bound."""
    if arm.bounded_by:
        return f"bounded by {arm.bounded_by}"
    if arm.rate is None:
        return ""
    return f"{format_number(arm.rate.value)} ({format_number(arm.rate.low)} to {format_number(arm.rate.high)})"


def number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 or value == round(value) else f"{value:.1f}"


def subtitle(conclusion: str) -> list[str]:
    """Return a conclusion as at most SUBTITLE_LINES lines for a chart's subtitle."""
    lines = textwrap.wrap(conclusion, SUBTITLE_WIDTH)
    if len(lines) <= SUBTITLE_LINES:
        return lines
    first = lines[: SUBTITLE_LINES - 1]
    return [*first, textwrap.shorten(" ".join(lines[len(first) :]), SUBTITLE_WIDTH, placeholder=" ...")]


def markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown for a repository or an issue."""
    lines = [f"**{comparison.outcome}**: {comparison.conclusion}", ""]
    titles = row_titles(comparison)
    lines += [f"| {' | '.join(titles)} |", "|---|---|" + "---:|" * (len(titles) - 2)]
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |" for cells, _ in rows(comparison)]
    lines += ["", caption(comparison) + "."]
    if comparison.differing_conditions:
        lines += ["", *(f"- differs: {format_condition(each)}" for each in comparison.differing_conditions)]
    return "\n".join(lines).translate(CONTROLS) + "\n"
