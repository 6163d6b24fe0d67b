"""The command line: parse, call, print, exit code. Thin: what a command does is elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from connleak import __version__
from connleak.cli import check as cli_project
from connleak.cli import compare as cli_many
from connleak.cli import doctor, options
from connleak.cli import watch as cli_live
from connleak.cli.check import run_once, with_project
from connleak.cli.output import (
    AFTER,
    COULD_NOT_RUN,
    Group,
    draw_after,
    emit,
    exit_code,
    in_github,
    not_whole,
    show_verdicts,
    sweep,
)
from connleak.cli.progress import index_page, show_target, table_of_targets
from connleak.corpus.skeleton import new_target
from connleak.model.errors import Error
from connleak.model.outcomes import OUTCOMES
from connleak.plan import catalog
from connleak.plan import resolve as plan
from connleak.recording.folders import follow_link
from connleak.recording.redaction import redact_argv
from connleak.render.sanitize import harmless
from connleak.runner import chart_process, index
from connleak.runner import report as results


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="connleak")
def main() -> None:
    """Reproduces database connection leaks under load, names the line of code that holds the connections,
    and draws the growth.

    \b
    Start here:   connleak run missing_remove        one known leak, on a real PostgreSQL
                  connleak list                      every known one
                  connleak run --app 'gunicorn app:app' --url http://127.0.0.1:8000     your own app
    """


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--markdown", is_flag=True, help="The index page of targets/ on stdout.")
def list_(as_json: bool, markdown: bool) -> None:
    """Lists the targets: small apps with a known bug, and their fixes."""
    targets = catalog.targets()
    if markdown:
        click.echo(index_page(list(targets.values())))
        return
    if as_json:
        rows = [
            {
                "name": target.name,
                "title": target.title,
                "variants": {
                    name: {"expect": variant.expect, "kinds": variant.kinds}
                    for name, variant in target.variants.items()
                },
            }
            for target in targets.values()
        ]
        emit({"targets": rows})
    else:
        Console(emoji=False, highlight=False).print(table_of_targets(list(targets.values())))


@main.command()
@click.argument("target")
def show(target: str) -> None:
    """Shows a target: its story, its variants, and how the fix differs from the bug."""
    found, _ = catalog.find(target)
    Console(emoji=False, highlight=False, soft_wrap=True).print(show_target(found))


@main.command(epilog=AFTER)
@click.argument("target", required=False)
@options.of_a_run
@click.option("--canary", is_flag=True, help="Plant one known leak in the app; inconclusive if it is not seen.")
@click.option("--sensitivity", metavar="RATE", help="Go on until a leak of so many a request, as 1/10000, would show.")
@click.option(
    "--limit", type=float, default=1800, show_default=True, metavar="SECONDS", help="How long --sensitivity may go on."
)
@click.option("--budget", type=int, metavar="N", help="Sessions that may stay at rest, where --probe off cannot know.")
@click.option("--at-rate", metavar="RATE", help="Say when it is full at so many requests, such as 20/s or 1200/min.")
@click.option("--all-cycles", is_flag=True, help="Do not stop early once the verdict is certain.")
@click.option("--expect", metavar="OUTCOME", help=f"Exit 0 when that is the verdict: {', '.join(OUTCOMES)}.")
@click.option("--strict", is_flag=True, help="Exit 1 for strained, too.")
@click.option("--out", metavar="DIR", help="The run's folder; default: reports/<time>-<target>-<variant>.")
@options.format_of_a_verdict
def run(out: str | None, form: str, strict: bool, all_cycles: bool, **given: Any) -> None:
    """Runs TARGET[:VARIANT] (or --app) under load on a real database, and says whether connections leak.

    TARGET is a name from `connleak list`; its variant is `buggy` when none is named. Without TARGET and --app, what
    connleak.toml says (or [tool.connleak] in pyproject.toml), which `connleak init` writes.
    """
    argv = tuple(redact_argv(sys.argv[1:]))
    if not (given["target"] or given["app"] or given["listen"]):
        given = with_project(given)
    chosen = plan.Options(**given, early_stop=not all_cycles, argv=argv)
    made, private = plan.resolve(chosen)
    folder, read, verdict = run_once(made, private, out)
    runs = [(read, verdict)]
    show_verdicts(form, runs, [folder], strict)
    in_github(runs, folder)
    draw_after(
        lambda: chart_process.draw_run(folder), f"report: {folder}/report.html   chart: {folder}/growth.svg", form
    )
    sys.exit(exit_code(verdict.outcome, made.expect, strict))


@main.command(epilog=AFTER)
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option("--at-rate", metavar="RATE", help="Say when it is full at so many requests, such as 20/s or 1200/min.")
@click.option("--expect", metavar="OUTCOME", help="Exit 0 when that is the verdict.")
@click.option("--strict", is_flag=True, help="Exit 1 for strained, too.")
@options.format_of_a_verdict
def judge(folders: tuple[str, ...], at_rate: str | None, expect: str | None, strict: bool, form: str) -> None:
    """Judges recordings again, and writes verdict.json into each FOLDER."""
    if expect and expect not in OUTCOMES:
        raise Error(f"--expect {expect}: no such outcome", "connleak judge --help")
    at = plan.requests_a_second(at_rate) if at_rate else 0.0
    places = [follow_link(name) for name in folders]
    runs = [results.judged(folder, at) for folder in places]
    for folder, (_, verdict) in zip(places, runs, strict=True):
        with not_whole(folder):
            results.keep_verdict(folder, verdict)
    show_verdicts(form, runs, places, strict, "recording: {}")
    sys.exit(max(exit_code(verdict.outcome, expect or "", strict) for _, verdict in runs))


@main.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
def render(folders: tuple[str, ...]) -> None:
    """Draws growth.svg, growth.png and report.html of recordings anew."""
    for folder in map(follow_link, folders):
        results.judge_folder(folder)
        need_drawn(chart_process.draw_run(folder))
        click.echo(harmless(f"{folder}/report.html"))


def need_drawn(problem: Error | None) -> None:
    """Raises what kept a command from drawing, where that is all that it does."""
    if problem:
        raise problem


@main.command("chart")
@click.argument("kind", type=click.Choice(list(results.CHARTS)))
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option("--out", metavar="FILE", help="An .svg, .png or .html file; default: KIND.svg in the first FOLDER.")
@click.option("--theme", type=click.Choice(["light", "dark", "print"]), default="light", show_default=True)
def chart_(kind: str, folders: tuple[str, ...], out: str | None, theme: str) -> None:
    """Draws one chart of recordings.

    \b
    growth      sessions over time, stacked by state, with limits and the request rate
    lifelines   a bar for each session, from its opening to its end: who never came home
    ages        a heat map of how old the checkouts are that are out
    sides       the server's count of sessions beside the app's own
    overlay     several runs as lines on the same axes
    multiples   a small growth chart for each of several runs, on the same axes
    """
    places = [follow_link(name) for name in folders]
    path = Path(out) if out else places[0] / f"{kind}.svg"
    need_drawn(chart_process.draw_chart(kind, places, path, theme))
    click.echo(harmless(str(path)))


@main.command("open")
@click.argument("which", required=False)
@click.option("--print", "only_print", is_flag=True, help="Print the page's path, and open nothing.")
def open_(which: str | None, only_print: bool) -> None:
    """Opens a report in the browser: of the run WHICH (`latest`, or a folder), or without it the index of all runs."""
    reports = Path("reports")
    if which is None:
        if not reports.is_dir():
            raise Error("there are no runs here yet: no folder reports/", "connleak run missing_remove")
        page = index.write_index(reports)
    else:
        page = page_of(follow_link(reports / which if (reports / which).is_dir() else which))
    click.echo(harmless(str(page)))
    if not only_print:
        click.launch(str(page.resolve()))


def page_of(folder: Path) -> Path:
    """Returns the page of a run's or a comparison's folder, drawn when it is not there yet."""
    page = results.page_in(folder)
    if page is None:
        results.judge_folder(folder)
        need_drawn(chart_process.draw_run(folder))
    return page or folder / "report.html"


@main.command("diagnose")
@click.argument("what", default="reports/latest", metavar="FOLDER|URL")
@click.option("--for", "seconds", type=float, default=35.0, show_default=True, help="How long to watch a URL first.")
@click.option("--allow-remote", multiple=True, metavar="HOST", help="Allow a server on this host, not this machine.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def diagnose_(what: str, seconds: float, allow_remote: tuple[str, ...], as_json: bool) -> None:
    """Says which of the known bugs a recording looks like, what speaks for it and against, and what mended it there.

    The recording is in FOLDER, or is made now by watching the database at URL.
    """
    from connleak.corpus import diagnose

    folder = cli_live.watched(what, seconds, allow_remote) if "://" in what else diagnose.need_folder(what)
    read, verdict = results.judge_folder(folder)
    found = diagnose.diagnose(read, verdict, diagnose.known())
    if as_json:
        emit({"outcome": verdict.outcome, "looks_like": found})
    else:
        Console(emoji=False, highlight=False, soft_wrap=True).print(diagnose.diagnosis(verdict, found))


@main.command("new-target")
@click.argument("name")
def new_target_(name: str) -> None:
    """Writes the skeleton of a target NAME, which runs as it is; docs/how-to-add-a-target.md goes on from there."""
    folder = new_target(catalog.corpus() / "targets", name)
    click.echo(f"{folder}\n  next: connleak run {name}")


@main.command("doctor")
@click.option("--clean", is_flag=True, help="First remove what killed runs left, as every start of a run does.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor_(clean: bool, as_json: bool) -> None:
    """Says what is here, what is missing, and how to get it."""
    if clean:
        sweep()
    rows = doctor.examine()
    if as_json:
        emit({"checks": rows})
    else:
        Console(emoji=False, highlight=False, soft_wrap=True).print(doctor.table(rows))
    sys.exit(0 if all(row.ok or not row.needed for row in rows) else COULD_NOT_RUN)


for command in (
    cli_project.init,
    cli_project.check,
    cli_many.corpus,
    cli_many.compare,
    cli_many.gallery,
    cli_live.watch,
    cli_live.probe,
    cli_live.holders_,
):
    main.add_command(command)
