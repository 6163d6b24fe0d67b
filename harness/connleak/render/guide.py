"""The field guide to connection leaks as Markdown and as a page: a chapter per target."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from connleak.model.outcomes import OUTCOMES, Outcome
from connleak.model.struct import Struct
from connleak.model.target import Target
from connleak.model.verdict import Verdict
from connleak.render.page import filled
from connleak.render.sanitize import first_line

PARTS = ("The question", "What is wrong", "How it looks", "Why the fix works", "What does not help")
"""Headings of a target's page that the guide shows; its chart takes the place of the third."""


class Row(Struct, frozen=True):
    """A variant of a chapter."""

    variant: str
    title: str
    outcome: Outcome
    sentence: str


class Chapter(Struct, frozen=True, kw_only=True):
    """A target's chapter: its title, the paragraphs of its page by heading, its variants, the diff of its fix."""

    name: str
    title: str
    parts: dict[str, str]
    rows: tuple[Row, ...]
    kinds: tuple[str, ...]
    diff: str


def chapter(target: Target, verdicts: dict[str, Verdict], story: str, diff: str) -> Chapter:
    """Return a target's chapter, its variants in the order of their outcomes."""
    rows = [
        Row(name, target.variants[name].title, verdict.outcome, first_line(verdict.sentence))
        for name, verdict in verdicts.items()
    ]
    kinds = dict.fromkeys(finding.kind for verdict in verdicts.values() for finding in verdict.findings)
    return Chapter(
        name=target.name,
        title=target.title,
        parts=parts_of(story),
        rows=tuple(sorted(rows, key=lambda row: list(OUTCOMES).index(row.outcome))),
        kinds=tuple(kinds),
        diff=diff,
    )


def parts_of(story: str) -> dict[str, str]:
    """Return the paragraphs of a target's page by their bold headings."""
    found = {}
    for paragraph in re.split(r"\n\s*\n", story):
        match = re.match(r"\*\*([^*]+?)\.\*\*\s*(.*)", paragraph.strip(), re.S)
        if match and match[1] in PARTS:
            found[match[1]] = match[2]
    return found


def counts(chapters: list[Chapter]) -> str:
    """Return the number of variants with each outcome."""
    numbers = Counter(row.outcome for chapter in chapters for row in chapter.rows)
    return ", ".join(f"{numbers[outcome]} {outcome}" for outcome in OUTCOMES if numbers[outcome])


def markdown(chapters: list[Chapter]) -> str:
    """Return the guide as Markdown."""
    total = sum(len(chapter.rows) for chapter in chapters)
    lines = [
        "# The field guide to connection leaks",
        "",
        f"{len(chapters)} known bugs in {total} variants, each recorded in a real run: {counts(chapters)}.",
        "`make gallery` generates every chart and sentence from the recordings in `recordings/`.",
        "To run a variant on your machine: `connleak run TARGET:VARIANT`.",
        "",
        "| symptom | finding kinds | target |",
        "|---|---|---|",
        *(f"| {cell(c.title)} | {', '.join(c.kinds)} | [{c.name}](#{c.name}) |" for c in chapters),
    ]
    for one in chapters:
        lines += ["", f'## <a name="{one.name}"></a>{one.title}', ""]
        for heading in PARTS[:2]:
            if heading in one.parts:
                lines += [f"**{heading}.** {one.parts[heading]}", ""]
        lines += [f"![Sessions over time, buggy and fixed]({one.name}.svg)", ""]
        lines += ["| variant | verdict | result |", "|---|---|---|"]
        lines += [
            f"| `{row.variant}`: {cell(row.title)} | **{row.outcome}** | {cell(row.sentence)} |" for row in one.rows
        ]
        for heading in PARTS[3:]:
            if heading in one.parts:
                lines += ["", f"**{heading}.** {one.parts[heading]}"]
        if one.diff:
            lines += [
                "",
                "<details><summary>The fix as a diff</summary>",
                "",
                "```diff",
                one.diff,
                "```",
                "</details>",
            ]
        lines += ["", f"`connleak run {one.name}` · [source](../../targets/{one.name}/)"]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Return text escaped for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def page(chapters: list[Chapter]) -> str:
    """Return the guide as a page; its charts are files in the same folder."""
    values: dict[str, Any] = {"chapters": chapters, "counts": counts(chapters), "parts": PARTS}
    return filled("guide.html", total=sum(len(chapter.rows) for chapter in chapters), prose=prose, **values)


def prose(paragraph: str) -> list[tuple[bool, str]]:
    """Return a paragraph as pieces (is code, text); emphasis and links become plain text."""
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", paragraph).replace("**", "")
    return [(number % 2 == 1, piece) for number, piece in enumerate(plain.split("`")) if piece]
