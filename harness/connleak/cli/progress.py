"""The progress of a run on the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from connleak.model.plan import Plan
from connleak.render.series import by_category

if TYPE_CHECKING:
    from connleak.runner.parts import Progress


@contextlib.contextmanager
def progress(console: Console, plan: Plan) -> Iterator[Callable[[Progress], None]]:
    """Yield the function that shows a run's progress: a live line on a terminal, a line per phase elsewhere."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            yield lambda now: live.update(line_of(plan, now))
        return
    shown: set[tuple[str, int]] = set()

    def report(now: Progress) -> None:
        if (now.phase, now.cycle) not in shown:
            shown.add((now.phase, now.cycle))
            console.print(line_of(plan, now))

    yield report


def line_of(plan: Plan, now: Progress) -> Text:
    """Return one line: phase, sessions by state, requests, elapsed and remaining time."""
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
