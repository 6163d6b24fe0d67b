"""`connleak corpus`."""

from __future__ import annotations

import sys

import rich_click as click

from connleak.cli import options
from connleak.cli.output import COULD_NOT_RUN, emit, err, escaped, sweep
from connleak.model.errors import Error
from connleak.model.target import Target, Variant
from connleak.plan import catalog
from connleak.recording import folders
from connleak.recording.folders import folder_for
from connleak.runner.requirements import need_lab
from connleak.runner.signals import terminating


@click.command()
@click.option("-k", "expression", default="", metavar="WORDS", help="Only variants whose TARGET:VARIANT contains one "
              "of these words.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Runs per variant.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Concurrent runs.")
@options.out("reports/<time>-corpus", "Folder of the runs and the table")
@click.option("--second-try", is_flag=True, help="Run each variant that did not match once more, and mark it.")
@click.option("--since", metavar="REV", help="Only variants whose files changed since this revision, and those of "
              "--draw.")  # fmt: skip
@click.option("--draw", type=click.IntRange(0), metavar="N", help="With --since: N further variants, selected by the "
              "commit's hash.")  # fmt: skip
@click.option("--prepare", is_flag=True, help="Run nothing: create the environments, and list the missing programs.")
@options.as_json
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
    """Run every variant of every target, and compare the verdict, its kinds and its line with those declared.

    Writes corpus.json and corpus.md. Exit code: 0 if all match, 4 if --prepare finds something missing, else 1.
    """
    need_lab("locust")
    from connleak.corpus import grading

    pairs = selected(expression, since, draw)
    if prepare:
        sys.exit(prepared(pairs, jobs))
    total = len(pairs) * repeat
    sweep()
    folder = folder_for(out, "corpus")
    done = 0

    def report(row: grading.Graded) -> None:
        nonlocal done
        done += 1
        result = "; ".join(row.problems).splitlines()[0] if row.problems else f"{row.outcome}, as declared"
        style = "red" if row.problems else "green"
        name = f"{row.target}:{row.variant}"
        err.print(f"{done:>3} of {total}  {name:<45} [{style}]{escaped(result)}[/]  {row.seconds:.0f} s")

    with terminating():
        graded = grading.run_corpus(pairs, repeat, jobs, folder, report)
        if second_try and any(row.problems for row in graded):
            graded = grading.second_try(graded, report)
    folders.write_json(folder / "corpus.json", {"runs": graded})
    folders.write(folder / "corpus.md", grading.markdown(graded))
    if as_json:
        emit({"runs": graded})
    else:
        click.echo(f"{grading.summary(graded)}\n{folder}/corpus.md")
    sys.exit(1 if any(row.problems for row in graded) else 0)


def selected(expression: str, since: str | None, draw: int | None) -> list[tuple[Target, Variant]]:
    """Return the variants to run: those that -k selects, reduced by --since and --draw."""
    from connleak.corpus import grading, selection
    from connleak.runner.revisions import git

    pairs = grading.choose(expression)
    if since is None:
        if draw is not None:
            raise Error("--draw requires --since: it adds to the variants that changed", "connleak corpus --since main")
        return pairs
    files = selection.changed_files(catalog.corpus(), since)
    head = git(catalog.corpus(), "rev-parse", "HEAD")
    left = selection.select(pairs, files, draw or 0, head)
    if not left:
        raise Error(f"no variant changed since {since}", f"connleak corpus --since {since} --draw 60")
    changed = sum(selection.is_affected(*pair, files) for pair in pairs)
    text = f"{changed} variants changed since {since}; {len(left) - changed} others were drawn by {head[:12]}"
    err.print(text, highlight=False)
    return left


def prepared(wanted: list[tuple[Target, Variant]], jobs: int) -> int:
    """Create the environments of the variants, and list what is missing; return the exit code."""
    from connleak.corpus import prerequisites

    def report(need: prerequisites.Prerequisite) -> None:
        missing = f"[red]missing[/]  {escaped(need.missing)}\n  next: {escaped(need.command)}"
        err.print(f"{escaped(need.name)}  {missing if need.missing else '[green]available[/]'}")

    found = prerequisites.prepare(wanted, jobs, report)
    return COULD_NOT_RUN if any(need.missing for need in found) else 0
