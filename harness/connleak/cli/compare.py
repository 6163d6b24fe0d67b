"""The commands that run many: the corpus, and fixes compared."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from connleak.cli import options
from connleak.cli.output import draw_after, emit, err, escaped, sweep
from connleak.cli.progress import progress
from connleak.comparing import compare as compare_runs
from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.target import Target, Variant
from connleak.plan import catalog
from connleak.plan import resolve as plan
from connleak.recording import folders
from connleak.recording.folders import empty_folder, folder_for, follow_link, write_json
from connleak.recording.redaction import redact_argv
from connleak.render import comparison as compared
from connleak.runner import chart_process, index
from connleak.runner import report as results
from connleak.runner.requirements import need_lab
from connleak.runner.signals import terminating

COMPARED = """
\b
Exit codes: 0 the last one is fixed and no worse, 1 not fixed or worse, 2 wrong usage, 3 undecided.
"""


@click.command()
@click.option(
    "-k", "expression", default="", metavar="WORDS", help="Only variants with one of these in TARGET:VARIANT."
)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="How often to run each.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="How many to run at a time.")
@click.option("--out", metavar="DIR", help="Folder of the runs and the table; default: reports/<time>-corpus.")
@click.option("--second-try", is_flag=True, help="Run once more what did not hold, and say so.")
@click.option("--since", metavar="REV", help="Only variants whose files changed since this revision, and --draw more.")
@click.option("--draw", type=click.IntRange(0), metavar="N", help="With --since: N others, drawn by the commit's hash.")
@click.option("--prepare", is_flag=True, help="Only make the environments, and name what this machine lacks.")
@click.option("--json", "as_json", is_flag=True, help="The graded table as JSON on stdout; progress goes to stderr.")
def corpus(
    expression: str,
    repeat: int,
    jobs: int,
    out: str | None,
    second_try: bool,
    since: str | None,
    draw: int | None,
    prepare: bool,
    as_json: bool,
) -> None:
    """Runs every variant of every target, and holds each to the verdict, kinds and line that its target promises.

    Writes corpus.json and corpus.md. Exit code 0 when all held, 4 when --prepare found something missing, else 1.
    """
    need_lab("locust")
    from connleak.corpus import grading as grades

    pairs = selected(expression, since, draw)
    if prepare:
        sys.exit(prepared(pairs, jobs))
    wanted = len(pairs) * repeat
    sweep()
    folder = folder_for(out, "corpus")
    rows: list[grades.Graded] = []

    def report(row: grades.Graded) -> None:
        rows.append(row)
        told = "; ".join(row.problems).splitlines()[0] if row.problems else f"{row.outcome}, as promised"
        style = "red" if row.problems else "green"
        name = f"{row.target}:{row.variant}"
        err.print(f"{len(rows):>3} of {wanted}  {name:<45} [{style}]{escaped(told)}[/]  {row.seconds:.0f} s")

    with terminating():
        graded = grades.run_corpus(pairs, repeat, jobs, folder, report)
        if second_try and any(row.problems for row in graded):
            graded = grades.second_try(graded, report)
    write_json(folder / "corpus.json", {"runs": graded})
    folders.write(folder / "corpus.md", grades.markdown(graded))
    if as_json:
        emit({"runs": graded})
    else:
        click.echo(f"{grades.summary(graded)}\n{folder}/corpus.md")
    sys.exit(1 if any(row.problems for row in graded) else 0)


def selected(expression: str, since: str | None, draw: int | None) -> list[tuple[Target, Variant]]:
    """Return the variants to run: those that -k names, and of them those that --since and --draw leave."""
    from connleak.corpus import grading as grades
    from connleak.corpus import selection
    from connleak.runner.revisions import git

    pairs = grades.choose(expression)
    if since is None:
        if draw is not None:
            raise Error("--draw needs --since: what it draws is added to what changed", "connleak corpus --since main")
        return pairs
    files = selection.changed_files(catalog.corpus(), since)
    head = git(catalog.corpus(), "rev-parse", "HEAD")
    left = selection.select(pairs, files, draw or 0, head)
    if not left:
        raise Error(f"no variant changed since {since}", f"connleak corpus --since {since} --draw 60")
    changed = sum(selection.is_affected(*pair, files) for pair in pairs)
    told = f"{changed} variants changed since {since}, {len(left) - changed} of the others are drawn by {head[:12]}"
    err.print(told, highlight=False)
    return left


def prepared(wanted: list[tuple[Target, Variant]], jobs: int) -> int:
    """Makes what the variants need, says what is missing; returns the exit code."""
    from connleak.corpus import prerequisites as needs

    def report(need: needs.Prerequisite) -> None:
        mark = (
            f"[red]missing[/]  {escaped(need.missing)}\n  next: {escaped(need.command)}"
            if need.missing
            else "[green]here[/]"
        )
        err.print(f"{escaped(need.name)}  {mark}")

    found = needs.prepare(wanted, jobs, report)
    return 4 if any(need.missing for need in found) else 0


@click.command(epilog=COMPARED)
@click.argument("names", nargs=-1, metavar="[A B ...]")
@options.of_a_run
@click.option(
    "--git-ref", "refs", multiple=True, metavar="REF", help="A revision of --app's repository; may be repeated."
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often to run each, at least.")
@click.option(
    "--limit",
    type=float,
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Go on with more rounds until the answer is clear, or so long.",
)
@click.option("--allow-unlike", is_flag=True, help="Compare runs that were made under different load or machines, too.")
@click.option("--out", metavar="DIR", help="Folder of the runs and the report; default: reports/<time>-compare-<name>.")
@options.format_of_a_comparison
def compare(
    names: tuple[str, ...],
    refs: tuple[str, ...],
    rounds: int,
    limit: float,
    allow_unlike: bool,
    out: str | None,
    form: str,
    **given: Any,
) -> None:
    """Compares variants, run folders, or revisions of an app: which fix works, and what it costs.

    \b
    connleak compare missing_remove                      all variants of a target
    connleak compare missing_remove:buggy fixed          some of them; the first is what the others are held to
    connleak compare reports/A reports/B                 recordings that are there
    connleak compare --app 'COMMAND' --url URL --git-ref main --git-ref my-fix
    """
    from connleak.runner import experiment

    recorded = bool(names) and not given["app"] and all(experiment.is_recorded(name) for name in names)
    need_lab("none" if recorded else "locust", comparing=True)
    place, diffs = None, {}
    if recorded:
        arms = experiment.read_arms(experiment.named_folders(names))
        place = follow_link(names[0]) if len(names) == 1 else empty_folder(out) if out else None
    else:
        sweep()
        given["argv"] = tuple(redact_argv(sys.argv[1:]))
        with terminating(), contenders(names, refs, plan.Options(**given, early_stop=False)) as chosen:
            label = "app" if given["app"] else names[0].partition(":")[0]
            place = folder_for(out, f"compare-{label}")
            arms = experiment.run_rounds(chosen, place, rounds, limit, told, watch)
            diffs = experiment.differences(chosen)
    if not arms or not all(arms.values()):
        raise Error("no round was whole: nothing can be compared", "connleak compare ... --rounds 1", exit_code=130)
    with err.status("comparing"):
        found = compare_runs(arms)
        experiment.need_alike(found, allow_unlike)
        if place:
            results.keep_comparison(place, found, arms, diffs)
            if place.parent == Path("reports"):
                index.write_index(place.parent)
    show_comparison(found, form)
    if place:
        shown = f"report: {place}/compare.html   charts: {place}/overlay.svg, {place}/multiples.svg"
        draw_after(lambda: chart_process.draw_comparison(place, arms), shown, form)
    sys.exit(found.exit_code)


def show_comparison(found: Comparison, form: str) -> None:
    """Prints a comparison: for a person, or in another format; and for GitHub's summary."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and os.environ.get("GITHUB_ACTIONS") == "true":
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(compared.markdown(found))
    if form == "text":
        screen = Console(emoji=False, highlight=False, soft_wrap=True)
        screen.print(compared.answer(found))
        wide = screen if screen.is_terminal else Console(emoji=False, highlight=False, width=200)  # a pipe has no edge
        wide.print(compared.table(found))
    elif form == "json":
        emit(found)
    else:
        click.echo(compared.markdown(found), nl=False)


@contextlib.contextmanager
def contenders(names: tuple[str, ...], refs: tuple[str, ...], chosen: plan.Options) -> Iterator[list[Any]]:
    """Yields the arms that the command line names; raises Error when it names none."""
    from connleak.runner import experiment

    if refs and not chosen.app:
        raise Error("--git-ref goes with --app: it compares revisions of an app of your own", experiment.HINT)
    if chosen.app:
        if not refs or names:
            raise Error(
                "with --app, compare takes revisions",
                "connleak compare --app 'gunicorn app:app' --url http://127.0.0.1:8000 --git-ref main --git-ref my-fix",
            )
        with experiment.revisions(refs, chosen) as arms:
            yield arms
        return
    if not names:
        raise Error("compare takes a target, variants or run folders", experiment.HINT)
    yield experiment.contenders(names, chosen)


def watch(made: Plan) -> contextlib.AbstractContextManager[Any]:
    """Shows a run's live line on a terminal, and nothing elsewhere: a line a run is enough there."""
    from connleak.runner.experiment import unwatched

    return progress(err, made) if err.is_terminal else unwatched(made)


def told(step: Any) -> None:
    """Prints one run of a round."""
    err.print(f"round {step.round}  {escaped(step.arm):<28} {step.outcome:<13} {step.seconds:.0f} s")


@click.command()
@click.option("--record", "anew", is_flag=True, help="Record the variants anew, too (all of them: half an hour).")
@click.option("-k", "expression", default="", metavar="WORDS", help="With --record: only variants with one of these.")
@click.option("--from", "source", metavar="DIR", help="With --record: take the runs of this corpus folder instead.")
@click.option(
    "--out", "folder", default="reports/gallery", show_default=True, metavar="DIR", help="The gallery's folder."
)
def gallery(anew: bool, expression: str, source: str | None, folder: str) -> None:
    """Draws the field guide to connection leaks from the recordings that are kept with the targets.

    A chart a target, README.md, index.html and gallery.json; the same recordings always give the same files.
    """
    need_lab("locust" if anew and not source else "none")
    from connleak.corpus import gallery
    from connleak.corpus import grading as corpus

    place = Path(folder)
    if anew:
        wanted = corpus.choose(expression)
        seen = 0

        def told(name: str, wrong: str) -> None:
            nonlocal seen
            seen += 1
            err.print(f"{seen:>3} of {len(wanted)}  {name:<45} {'[red]' + escaped(wrong) + '[/]' if wrong else 'kept'}")

        sweep()
        work = folder_for(None, "gallery-runs") if source is None else Path(source)
        with terminating():
            problems = gallery.record(wanted, place, Path(source) if source else None, work, told)
        if problems:
            raise Error(
                f"{len(problems)} could not be kept: {problems[0]}", "connleak gallery --record -k ...", exit_code=1
            )
    with err.status("drawing") as status:
        gallery.render(place, lambda name: status.update(f"drawing {name}"))
    click.echo(f"{place}/README.md   {place}/index.html")
