"""`connleak list`, `show` and `new-target`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from connleak.cli import options
from connleak.cli.output import emit, print_rich
from connleak.corpus.skeleton import new_target as write_target
from connleak.model.outcomes import OUTCOMES
from connleak.model.target import Target, Variant
from connleak.plan import catalog
from connleak.plan.catalog import difference, lesson


@click.command("list")
@options.as_json
@click.option("--markdown", is_flag=True, help="Print the index page of targets/ in Markdown.")
def list_(as_json: bool, markdown: bool) -> None:
    """List the targets: small apps with a known bug, and fixes for it."""
    targets = list(catalog.targets().values())
    if markdown:
        click.echo(index_page(targets))
    elif as_json:
        emit({"targets": [row_of(target) for target in targets]})
    else:
        print_rich(table_of_targets(targets))


@click.command()
@click.argument("target")
def show(target: str) -> None:
    """Show the story of a target, its variants, and how the fix differs from the bug."""
    found, _ = catalog.find(target)
    print_rich(story_of(found))


@click.command("new-target")
@click.argument("name")
def new_target(name: str) -> None:
    """Create the target NAME from a template that runs; docs/how-to-add-a-target.md describes the next steps."""
    folder = write_target(catalog.corpus() / "targets", name)
    click.echo(f"{folder}\n  next: connleak run {name}")


def row_of(target: Target) -> dict[str, object]:
    """Return a target as `list --json` prints it."""
    variants = {name: {"expect": variant.expect, "kinds": variant.kinds} for name, variant in target.variants.items()}
    return {
        "name": target.name,
        "title": target.title,
        "variants": variants,
    }


def in_colour(text: str, variant: Variant) -> Text:
    """Return text in the colour of the verdict that a variant must get."""
    return Text(text, OUTCOMES[variant.expect].colour)


def table_of_targets(targets: list[Target]) -> Table:
    """Return a table of the targets and their variants."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("target", "variants", "story"):
        table.add_column(column, overflow="fold")
    for target in targets:
        variants = Text(" ").join(in_colour(name, variant) for name, variant in target.variants.items())
        table.add_row(Text(target.name, "bold"), variants, target.title)
    return table


def index_page(targets: list[Target]) -> str:
    """Return the index of the targets' pages, in Markdown."""
    lines = [
        "# The targets",
        "",
        f"{len(targets)} stories, {sum(len(target.variants) for target in targets)} variants. Written by"
        " `connleak list --markdown > targets/README.md`; each is run by `connleak run TARGET:VARIANT`.",
        "",
        "| target | symptom | variants and their verdicts |",
        "|---|---|---|",
    ]
    for target in targets:
        variants = ", ".join(f"{name} ({variant.expect})" for name, variant in target.variants.items())
        lines.append(f"| [{target.name}]({target.name}/README.md) | {target.title} | {variants} |")
    return "\n".join(lines)


def story_of(target: Target) -> Group:
    """Return a target's story, its variants with their verdicts, and the diff from the bug to the fix."""
    from rich.markdown import Markdown
    from rich.syntax import Syntax

    folder = Path(target.folder)
    parts: list[RenderableType] = []
    readme = folder / "README.md"
    if readme.exists():
        story = readme.read_text(encoding="utf-8").splitlines()
        parts.append(Markdown("\n".join(line for line in story if not line.startswith("!["))))
    table = Table(box=None, pad_edge=False)
    for column in ("variant", "verdict", "description"):
        table.add_column(column)
    for name, variant in target.variants.items():
        kinds = f" ({', '.join(variant.kinds)})" if variant.kinds else ""
        table.add_row(f"{target.name}:{name}", in_colour(variant.expect + kinds, variant), variant.title)
    parts += [Text(), table]
    pair = lesson(target)
    if pair:
        parts += [Text(), Syntax(difference(folder, *pair), "diff", background_color="default")]
    return Group(*parts)
