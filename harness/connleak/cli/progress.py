"""What the terminal shows besides the verdict: the live line of a run, the list of targets, a target's story."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from connleak.model.outcomes import OUTCOMES
from connleak.model.plan import Plan
from connleak.model.target import Target
from connleak.plan.catalog import difference, lesson
from connleak.render.series import by_category


@contextlib.contextmanager
def progress(console: Console, plan: Plan) -> Iterator[Callable[[Any], None]]:
    """Yields the function that shows a run's progress: a live line on a terminal, a line a phase elsewhere."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            yield lambda now: live.update(line_of(plan, now))
        return
    shown: set[tuple[str, int]] = set()

    def report(now: Any) -> None:
        if (now.phase, now.cycle) not in shown:
            shown.add((now.phase, now.cycle))
            console.print(line_of(plan, now))

    yield report


def line_of(plan: Plan, now: Any) -> Text:
    """Returns one line: phase, sessions by state, requests, time gone and left."""
    counts = by_category(now.states)
    sessions = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no sessions"
    phase = f"{now.phase} {now.cycle}/{now.cycles}" if now.cycle else now.phase
    text = Text(f"{plan.target}:{plan.variant}  ")
    text.append(f"{phase:<12}", "bold")
    text.append(f" {sessions} | {now.out} checked out | {now.requests} requests")
    if now.failures:
        text.append(f", {now.failures} failed", "red")
    text.append(f" | {now.elapsed:.0f} s, about {max(0.0, now.remaining):.0f} s left", "dim")
    return text


def table_of_targets(targets: list[Target]) -> Table:
    """Returns the targets with their variants, each in the colour of what it must get."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("target", "variants", "story"):
        table.add_column(column, overflow="fold")
    for target in targets:
        variants = Text(" ").join(
            Text(name, OUTCOMES[variant.expect].colour) for name, variant in target.variants.items()
        )
        table.add_row(Text(target.name, "bold"), variants, target.title)
    return table


def index_page(targets: list[Target]) -> str:
    """Returns the index of the targets' pages in Markdown: what people see, and each variant's verdict."""
    lines = [
        "# The targets",
        "",
        f"{len(targets)} stories, {sum(len(target.variants) for target in targets)} variants. Written by"
        " `connleak list --markdown > targets/README.md`; each is run by `connleak run TARGET:VARIANT`.",
        "",
        "| target | what people see | variants and their verdicts |",
        "|---|---|---|",
    ]
    for target in targets:
        told = ", ".join(f"{name} ({variant.expect})" for name, variant in target.variants.items())
        lines.append(f"| [{target.name}]({target.name}/README.md) | {target.title} | {told} |")
    return "\n".join(lines)


def show_target(target: Target) -> Group:
    """Returns a target's story, its variants with what they get, and the diff from the bug to the fix."""
    folder = Path(target.folder)
    parts: list[Any] = []
    readme = folder / "README.md"
    if readme.exists():
        story = readme.read_text(encoding="utf-8").splitlines()
        parts.append(Markdown("\n".join(line for line in story if not line.startswith("!["))))
    table = Table(box=None, pad_edge=False)
    for column in ("variant", "verdict", "what it is"):
        table.add_column(column)
    for name, variant in target.variants.items():
        kinds = f" ({', '.join(variant.kinds)})" if variant.kinds else ""
        table.add_row(
            f"{target.name}:{name}", Text(variant.expect + kinds, OUTCOMES[variant.expect].colour), variant.title
        )
    parts += [Text(), table]
    pair = lesson(target)
    if pair:
        parts += [Text(), Syntax(difference(folder, *pair), "diff", background_color="default")]
    return Group(*parts)
