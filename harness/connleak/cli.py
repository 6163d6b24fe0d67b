"""The command line: parse, call, print, exit code. Thin: what a command does is elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console

from connleak import __version__, catalog, doctor, holders, plan, recording, results
from connleak.invocation import need_lab, own_folder, terminating, without_secrets
from connleak.model import OUTCOMES, Error, Outcome, Target, Variant
from connleak.render import text
from connleak.show import index_page, progress, show_target, table_of_targets
from connleak.skeleton import new_target
from connleak.verdict import Verdict

EXIT: dict[Outcome, int] = {"clean": 0, "strained": 0, "leak": 1, "fault": 1, "inconclusive": 3}
COULD_NOT_RUN = 4
AFTER = """
\b
Exit codes: 0 clean (or strained), 1 leak or fault (or strained with --strict), 2 wrong usage,
3 inconclusive, 4 could not run. With --expect OUTCOME: 0 when that is the verdict, else 1.
"""

err = Console(stderr=True, highlight=False, soft_wrap=True)


class Group(click.Group):
    """Commands whose expected errors are one sentence and the next command to type."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            super().main(*args, **{**kwargs, "standalone_mode": False})
        except Error as error:
            fail(error.message, error.hint, error.exit_code)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "connleak"
            fail(error.format_message(), f"{path} --help", 2)
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except (click.Abort, KeyboardInterrupt):
            fail("interrupted", "connleak list", 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        sys.exit(0)


def fail(message: str, hint: str, code: int) -> NoReturn:
    """Prints an error and the next command to type, and ends."""
    err.print(f"[bold red]connleak:[/] {escaped(message)}\n  next: {escaped(hint)}")
    sys.exit(code)


def escaped(words: str) -> str:
    return words.replace("[", "\\[")


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
                "pattern": target.pattern,
                "seeds": target.seeds,
                "variants": {
                    name: {"expect": variant.expect, "kinds": variant.kinds}
                    for name, variant in target.variants.items()
                },
            }
            for target in targets.values()
        ]
        emit({"targets": rows})
    else:
        Console(highlight=False).print(table_of_targets(list(targets.values())))


@main.command()
@click.argument("target")
def show(target: str) -> None:
    """Shows a target: its story, its variants, and how the fix differs from the bug."""
    found, _ = catalog.find(target)
    Console(highlight=False, soft_wrap=True).print(show_target(found))


@main.command(epilog=AFTER)
@click.argument("target", required=False)
@click.option("--app", help="Start command of an app of your own, instead of a target (no shell).")
@click.option("--url", help="Where that app answers, such as http://127.0.0.1:8000; without it no load is made.")
@click.option("--locustfile", metavar="FILE", help="The load; default: the target's scenario, or steady GET /.")
@click.option("--cwd", metavar="DIR", help="Folder to start the app in.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable for the app; may be repeated.")
@click.option(
    "--postgres",
    default="embedded",
    show_default=True,
    metavar="SOURCE",
    help="Where the database comes from: embedded, system, a version (15 to 18), or an address postgresql://...",
)
@click.option("--allow-remote", is_flag=True, help="Allow a database or an app that is not on this machine.")
@click.option("--max-connections", type=int, help="max_connections of a server that we start.")
@click.option("--users", type=int, help="Locust users at once.")
@click.option("--cycles", type=int, default=3, show_default=True, help="How often to load and let rest.")
@click.option("--load", type=float, metavar="SECONDS", help="How long each load lasts.")
@click.option("--drain", type=float, metavar="SECONDS", help="How long at most to wait for rest after a load.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the load's random choices.")
@click.option(
    "--probe",
    type=click.Choice(["pool", "queries", "off"]),
    help="Watch the app's pools and drivers, its statements too (dearer), or the server alone.",
)
@click.option(
    "--gc",
    type=click.Choice(["normal", "off", "eager"]),
    default="normal",
    show_default=True,
    help="The app's cyclic garbage collector: as usual, off, or run before every count.",
)
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
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON on stdout; progress goes to stderr.")
def run(out: str | None, as_json: bool, strict: bool, all_cycles: bool, **options: Any) -> None:
    """Runs TARGET[:VARIANT] (or --app) under load on a real database, and says whether connections leak.

    TARGET is a name from `connleak list`; its variant is `buggy` when none is named.
    """
    argv = tuple(without_secrets(sys.argv[1:]))
    chosen = plan.Options(**options, early_stop=not all_cycles, argv=argv)
    made, private = plan.resolve(chosen)
    need_lab(made.load)
    from connleak.record import record

    folder = own_folder(out) if out else recording.new_folder(Path("reports"), f"{made.target}-{made.variant}")
    with terminating(), progress(err, made) as report:
        record(made, private, folder, report)
    if not out:
        recording.point_latest(folder)
    with err.status("judging, and drawing the charts"):
        verdict = results.judge_folder(folder)
        results.render_folder(folder, verdict)
    shown = f"report: {folder}/report.html   chart: {folder}/growth.svg"
    answer(made, verdict, shown, as_json)
    sys.exit(exit_code(verdict.outcome, made.expect, strict))


@main.command()
@click.option(
    "-k", "expression", default="", metavar="WORDS", help="Only variants with one of these in TARGET:VARIANT."
)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="How often to run each.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="How many to run at a time.")
@click.option("--out", metavar="DIR", help="Folder of the runs and the table; default: reports/<time>-corpus.")
@click.option("--second-try", is_flag=True, help="Run once more what did not hold, and say so.")
@click.option("--prepare", is_flag=True, help="Only make the environments, and name what this machine lacks.")
@click.option("--json", "as_json", is_flag=True, help="The graded table as JSON on stdout; progress goes to stderr.")
def corpus(
    expression: str, repeat: int, jobs: int, out: str | None, second_try: bool, prepare: bool, as_json: bool
) -> None:
    """Runs every variant of every target, and holds each to the verdict, kinds and line that its target promises.

    Writes corpus.json and corpus.md. Exit code 0 when all held, 4 when --prepare found something missing, else 1.
    """
    need_lab("locust")
    from connleak import experiment

    if prepare:
        sys.exit(prepared(experiment.chosen(expression), jobs))
    wanted = len(experiment.chosen(expression)) * repeat
    folder = own_folder(out) if out else recording.new_folder(Path("reports"), "corpus")
    rows: list[experiment.Graded] = []

    def report(row: experiment.Graded) -> None:
        rows.append(row)
        told = "; ".join(row.problems).splitlines()[0] if row.problems else f"{row.outcome}, as promised"
        style = "red" if row.problems else "green"
        name = f"{row.target}:{row.variant}"
        err.print(f"{len(rows):>3} of {wanted}  {name:<45} [{style}]{escaped(told)}[/]  {row.seconds:.0f} s")

    with terminating():
        graded = experiment.corpus(expression, repeat, jobs, folder, report)
        if second_try and any(row.problems for row in graded):
            graded = experiment.second_try(graded, report)
    recording.write_json(folder / "corpus.json", {"runs": graded})
    (folder / "corpus.md").write_text(experiment.markdown(graded), encoding="utf-8")
    if as_json:
        emit({"runs": graded})
    else:
        click.echo(f"{experiment.summary(graded)}\n{folder}/corpus.md")
    sys.exit(1 if any(row.problems for row in graded) else 0)


def prepared(wanted: list[tuple[Target, Variant]], jobs: int) -> int:
    """Makes what the variants need, says what is missing; returns the exit code."""
    from connleak import needs

    def report(need: needs.Need) -> None:
        mark = (
            f"[red]missing[/]  {escaped(need.missing)}\n  next: {escaped(need.get)}"
            if need.missing
            else "[green]here[/]"
        )
        err.print(f"{escaped(need.name)}  {mark}")

    found = needs.prepare(wanted, jobs, report)
    return 4 if any(need.missing for need in found) else 0


@main.command(epilog=AFTER)
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option("--at-rate", metavar="RATE", help="Say when it is full at so many requests, such as 20/s or 1200/min.")
@click.option("--expect", metavar="OUTCOME", help="Exit 0 when that is the verdict.")
@click.option("--strict", is_flag=True, help="Exit 1 for strained, too.")
@click.option(
    "--json", "as_json", is_flag=True, help="The verdict as JSON on stdout; a list of them for several folders."
)
def judge(folders: tuple[str, ...], at_rate: str | None, expect: str | None, strict: bool, as_json: bool) -> None:
    """Judges recordings again, and writes verdict.json into each FOLDER."""
    if expect and expect not in OUTCOMES:
        raise Error(f"--expect {expect}: no such outcome", "connleak judge --help")
    verdicts = []
    code = 0
    for name in folders:
        verdict = results.judge_folder(Path(name), plan.requests_a_second(at_rate) if at_rate else 0.0)
        verdicts.append(verdict)
        made = recording.read_plan(Path(name))
        if not as_json:
            Console(highlight=False, soft_wrap=True).print(text.answer(made, verdict, where=f"recording: {name}"))
        code = max(code, exit_code(verdict.outcome, expect or "", strict))
    if as_json:
        emit(verdicts[0] if len(verdicts) == 1 else verdicts)
    sys.exit(code)


@main.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
def render(folders: tuple[str, ...]) -> None:
    """Draws growth.svg, growth.png and report.html of recordings anew."""
    for name in folders:
        folder = Path(name)
        results.render_folder(folder, results.judge_folder(folder))
        click.echo(f"{folder}/report.html")


@main.command("new-target")
@click.argument("name")
def new_target_(name: str) -> None:
    """Writes the skeleton of a target NAME, which runs as it is; docs/how-to-add-a-target.md goes on from there."""
    folder = new_target(catalog.corpus() / "targets", name)
    click.echo(f"{folder}\n  next: connleak run {name}")


@main.command("holders")
@click.argument("folder", default="reports/latest")
@click.option(
    "--at",
    type=click.Choice(["now", "exhausted", "quiet"]),
    help="Of now (asks the running app), of the first refusal, or of the quiet end; default: the first there is.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def holders_(folder: str, at: str | None, as_json: bool) -> None:
    """Shows who has which server session, since when, taken at which line, and where that thread is now.

    FOLDER is a run's folder. While the run goes on its app is asked; afterwards its recording tells.
    """
    table = holders.table(Path(folder), at)
    if as_json:
        emit(table)
    else:
        out = Console(highlight=False)
        wide = out if out.is_terminal else Console(highlight=False, width=200)  # a pipe has no edge
        wide.print(text.holders_of(table.at, table.t, table.reason, table.holders))


@main.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor_(as_json: bool) -> None:
    """Says what is here, what is missing, and how to get it."""
    rows = doctor.examine()
    if as_json:
        emit({"checks": rows})
    else:
        Console(highlight=False, soft_wrap=True).print(doctor.table(rows))
    sys.exit(0 if all(row.ok or not row.needed for row in rows) else COULD_NOT_RUN)


def emit(value: object) -> None:
    """Prints one JSON document and nothing else."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def answer(made: Any, verdict: Verdict, shown: str, as_json: bool) -> None:
    """Prints the verdict: for a person, or as JSON with the folder on stderr."""
    if as_json:
        emit(verdict)
        err.print(escaped(shown))
    else:
        Console(highlight=False, soft_wrap=True).print(text.answer(made, verdict, where=shown))


def exit_code(outcome: Outcome, expect: str, strict: bool) -> int:
    """Returns the exit code for an outcome."""
    if expect:
        return 0 if outcome == expect else 1
    return 1 if strict and outcome == "strained" else EXIT[outcome]
