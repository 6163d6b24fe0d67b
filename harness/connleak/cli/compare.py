"""`connleak compare`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from connleak.cli import options
from connleak.cli.output import draw_after, emit, err, escaped, print_rich, print_table, sweep
from connleak.cli.progress import progress
from connleak.comparing import compare as compare_runs
from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.plan.options import RunOptions
from connleak.recording.folders import empty_folder, folder_for, follow_link
from connleak.render import comparison
from connleak.runner import chart_process, index, report
from connleak.runner.requirements import need_lab
from connleak.runner.signals import terminating

if TYPE_CHECKING:
    from connleak.runner.experiment import Contender, Step
    from connleak.runner.parts import Progress
    from connleak.runner.report import Judged

EXIT_CODES = """
Exit codes: 0 the last one is fixed and no worse, 1 not fixed or worse, 2 wrong usage, 3 undecided, 4 could not run.
"""


@click.command(epilog=EXIT_CODES)
@click.argument("names", nargs=-1, metavar="[A B ...]")
@options.run_options("compare")
@click.option("--git-ref", "refs", multiple=True, metavar="REF", panel="Comparison",
              help="With --app: a revision of its repository. Repeatable.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, metavar="N", panel="Comparison",
              help="Least number of rounds; a round is one run of each.")  # fmt: skip
@click.option("--limit", type=float, default=600, show_default=True, metavar="SECONDS", panel="Comparison",
              help="Add rounds until the result is clear or this time is over.")  # fmt: skip
@click.option("--allow-unlike", is_flag=True, panel="Comparison",
              help="Compare runs even if their loads or machines differ.")  # fmt: skip
@options.out("reports/<time>-compare-<name>", "Folder of the runs and the report")
@options.comparison_format
def compare(
    names: tuple[str, ...],
    given: dict[str, Any],
    refs: tuple[str, ...],
    rounds: int,
    limit: float,
    allow_unlike: bool,
    out: str | None,
    form: str,
) -> None:
    """Compare variants, run folders, or revisions of an app with the first one.

    Reports which variants return every connection, what that costs in throughput and latency, and which only postpone
    exhaustion. Relative paths are relative to the current directory.

    \b
    connleak compare missing_remove                      all variants of a target
    connleak compare missing_remove:buggy fixed          two of them
    connleak compare reports/A reports/B                 recordings
    connleak compare --app 'COMMAND' --url URL --git-ref main --git-ref my-fix
    """
    from connleak.runner import experiment

    recorded = bool(names) and "app" not in given and all(experiment.is_recorded(name) for name in names)
    need_lab("none" if recorded else "locust", comparing=True)
    diffs: dict[str, str] = {}
    if recorded:
        arms = experiment.read_arms(experiment.named_folders(names))
        place = follow_link(names[0]) if len(names) == 1 else empty_folder(out) if out else None
    else:
        place, arms, diffs = run_arms(names, refs, RunOptions(**given, all_cycles=True), rounds, limit, out)
    if not arms or not all(arms.values()):
        raise Error("no round is complete: there is nothing to compare", "connleak compare ... --rounds 1",
                    exit_code=130)  # fmt: skip
    with err.status("comparing"):
        found = compare_runs(arms)
        experiment.need_alike(found, allow_unlike)
        if place:
            report.keep_comparison(place, found, arms, diffs)
            if place.parent == Path("reports"):
                index.write_index(place.parent)
    show_comparison(found, form)
    if place:
        shown = f"report: {place}/compare.html   charts: {place}/overlay.svg, {place}/multiples.svg"
        draw_after(lambda: chart_process.draw_comparison(place, arms), shown, form)
    sys.exit(found.exit_code)


def run_arms(
    names: tuple[str, ...], refs: tuple[str, ...], chosen: RunOptions, rounds: int, limit: float, out: str | None
) -> tuple[Path, dict[str, list[Judged]], dict[str, str]]:
    """Run the arms in turn; return the folder, the runs by arm, and how the revisions differ."""
    from connleak.runner import experiment

    sweep()
    with terminating(), contenders(names, refs, chosen) as found:
        label = "app" if chosen.app else names[0].partition(":")[0]
        place = folder_for(out, f"compare-{label}")
        arms = experiment.run_rounds(found, place, rounds, limit, show_step, show_run)
        return place, arms, experiment.differences(found)


@contextlib.contextmanager
def contenders(names: tuple[str, ...], refs: tuple[str, ...], chosen: RunOptions) -> Iterator[list[Contender]]:
    """Yield the arms that the command line names; raise Error if there are none."""
    from connleak.runner import experiment

    if refs and not chosen.app:
        raise Error("--git-ref requires --app: it compares revisions of your own app", experiment.HINT)
    if chosen.app:
        if not refs or names:
            raise Error(
                "with --app, compare needs revisions (--git-ref), and no names",
                "connleak compare --app 'gunicorn app:app' --url http://127.0.0.1:8000 --git-ref main --git-ref my-fix",
            )
        with experiment.revisions(refs, chosen) as arms:
            yield arms
        return
    if not names:
        raise Error("compare needs a target, variants, or run folders", experiment.HINT)
    yield experiment.contenders(names, chosen)


def show_run(plan: Plan) -> contextlib.AbstractContextManager[Callable[[Progress], None]]:
    """Show a run's progress line on a terminal; elsewhere, the line of its step is enough."""
    from connleak.runner.experiment import unwatched

    return progress(err, plan) if err.is_terminal else unwatched(plan)


def show_step(step: Step) -> None:
    """Print the line of one run of a round."""
    err.print(f"round {step.round}  {escaped(step.arm):<28} {step.outcome:<13} {step.seconds:.0f} s")


def show_comparison(found: Comparison, form: str) -> None:
    """Print a comparison as text or in another format, and write it into GitHub's step summary."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and os.environ.get("GITHUB_ACTIONS") == "true":
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(comparison.markdown(found))
    if form == "text":
        print_rich(comparison.answer(found))
        print_table(comparison.table(found))
    elif form == "json":
        emit(found)
    else:
        click.echo(comparison.markdown(found), nl=False)
