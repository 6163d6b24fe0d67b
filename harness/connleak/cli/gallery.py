"""`connleak gallery`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from connleak.cli.output import err, escaped, sweep
from connleak.model.errors import Error
from connleak.recording.folders import folder_for
from connleak.runner.requirements import need_lab
from connleak.runner.signals import terminating


@click.command()
@click.option("--record", "record_again", is_flag=True, help="First record the variants again (half an hour for all).")
@click.option("-k", "expression", default="", metavar="WORDS", help="With --record: only variants that contain one of "
              "these words.")  # fmt: skip
@click.option(
    "--from", "source", metavar="DIR", help="With --record: use this corpus folder's runs instead of new ones."
)
@click.option("--out", "folder", default="reports/gallery", show_default=True, metavar="DIR",
              help="The gallery's folder.")  # fmt: skip
def gallery(record_again: bool, expression: str, source: str | None, folder: str) -> None:
    """Draw the field guide to connection leaks from the stored recordings of the targets.

    Writes a chart per target, README.md, index.html and gallery.json; the same recordings give the same files.
    """
    need_lab("locust" if record_again and not source else "none")
    from connleak.corpus import gallery

    place = Path(folder)
    if record_again:
        record(expression, place, source)
    with err.status("drawing") as status:
        gallery.render(place, lambda name: status.update(f"drawing {name}"))
    click.echo(f"{place}/README.md   {place}/index.html")


def record(expression: str, place: Path, source: str | None) -> None:
    """Record variants into the gallery; raise Error if one of them fails."""
    from connleak.corpus import gallery, grading

    wanted = grading.choose(expression)
    done = 0

    def report(name: str, wrong: str) -> None:
        nonlocal done
        done += 1
        err.print(f"{done:>3} of {len(wanted)}  {name:<45} {'[red]' + escaped(wrong) + '[/]' if wrong else 'stored'}")

    sweep()
    work = folder_for(None, "gallery-runs") if source is None else Path(source)
    with terminating():
        problems = gallery.record(wanted, place, Path(source) if source else None, work, report)
    if problems:
        raise Error(
            f"{len(problems)} could not be stored: {problems[0]}", "connleak gallery --record -k ...", exit_code=1
        )
