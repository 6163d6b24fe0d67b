"""The field guide to connection leaks: a chapter a target, in Markdown and as a page."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from connleak.model.struct import Struct
from connleak.model.target import Target
from connleak.model.verdict import Verdict
from connleak.render.page import filled
from connleak.render.sanitize import first_line

PARTS = ("The question", "What is wrong", "How it looks", "Why the fix works", "What does not help")
ORDER = ("leak", "fault", "strained", "inconclusive", "clean")


class Row(Struct, frozen=True):
    """A variant in a chapter."""

    variant: str
    title: str
    outcome: str
    sentence: str


class Chapter(Struct, frozen=True, kw_only=True):
    """A target's part of the guide: its title, the paragraphs of its page by their headings, its variants, the diff."""

    name: str
    title: str
    parts: dict[str, str]
    rows: tuple[Row, ...]
    kinds: tuple[str, ...]
    diff: str


def chapter(target: Target, verdicts: dict[str, Verdict], story: str, diff: str) -> Chapter:
    """Returns a target's chapter."""
    rows = [
        Row(name, target.variants[name].title, verdict.outcome, first_line(verdict.sentence))
        for name, verdict in verdicts.items()
    ]
    kinds = dict.fromkeys(finding.kind for verdict in verdicts.values() for finding in verdict.findings)
    return Chapter(
        name=target.name,
        title=target.title,
        parts=parts_of(story),
        rows=tuple(sorted(rows, key=lambda row: ORDER.index(row.outcome))),
        kinds=tuple(kinds),
        diff=diff,
    )


def parts_of(story: str) -> dict[str, str]:
    """Returns the paragraphs of a target's page by their bold headings."""
    found = {}
    for paragraph in re.split(r"\n\s*\n", story):
        match = re.match(r"\*\*([^*]+?)\.\*\*\s*(.*)", paragraph.strip(), re.S)
        if match and match[1] in PARTS:
            found[match[1]] = match[2]
    return found


def counts(chapters: list[Chapter]) -> str:
    """Returns how many variants got which verdict."""
    told = Counter(row.outcome for chapter in chapters for row in chapter.rows)
    return ", ".join(f"{told[outcome]} {outcome}" for outcome in ORDER if told[outcome])


def markdown(chapters: list[Chapter]) -> str:
    """Returns the guide for a repository's browser."""
    total = sum(len(chapter.rows) for chapter in chapters)
    lines = [
        "# The field guide to connection leaks",
        "",
        f"{len(chapters)} stories, {total} variants, each run for real: {counts(chapters)}. Every chart and",
        "sentence is drawn from the recordings in `recordings/` by `make gallery`; `connleak run TARGET:VARIANT` shows",
        "it on your machine.",
        "",
        "| what people see | kinds | |",
        "|---|---|---|",
        *(f"| {cell(c.title)} | {', '.join(c.kinds)} | [{c.name}](#{c.name}) |" for c in chapters),
    ]
    for one in chapters:
        lines += ["", f'## <a name="{one.name}"></a>{one.title}', ""]
        for heading in PARTS[:2]:
            if heading in one.parts:
                lines += [f"**{heading}.** {one.parts[heading]}", ""]
        lines += [f"![Sessions over time, buggy beside fixed]({one.name}.svg)", ""]
        lines += ["| variant | verdict | |", "|---|---|---|"]
        lines += [
            f"| `{row.variant}`: {cell(row.title)} | **{row.outcome}** | {cell(row.sentence)} |" for row in one.rows
        ]
        for heading in PARTS[3:]:
            if heading in one.parts:
                lines += ["", f"**{heading}.** {one.parts[heading]}"]
        if one.diff:
            lines += [
                "",
                "<details><summary>The lesson as a diff</summary>",
                "",
                "```diff",
                one.diff,
                "```",
                "</details>",
            ]
        lines += ["", f"`connleak run {one.name}` · [its files](../../targets/{one.name}/)"]
    return "\n".join(lines) + "\n"


def cell(words: str) -> str:
    """Returns words as a table's cell may hold them."""
    return words.replace("|", "\\|").replace("<", "&lt;")


def page(chapters: list[Chapter]) -> str:
    """Returns the guide as a page; its charts are the files beside it."""
    facts: dict[str, Any] = {"chapters": chapters, "counts": counts(chapters), "parts": PARTS}
    return filled("guide.html", total=sum(len(chapter.rows) for chapter in chapters), prose=prose, **facts)


def prose(words: str) -> list[tuple[bool, str]]:
    """Returns a paragraph as (is code, text) pieces; emphasis and links become their words."""
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", words).replace("**", "")
    return [(number % 2 == 1, piece) for number, piece in enumerate(plain.split("`")) if piece]
