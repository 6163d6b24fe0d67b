"""Source lines around the sites that a verdict names, stored with the recording because the code may change later."""

from __future__ import annotations

from collections.abc import Iterator

from connleak.model.recording import Site
from connleak.model.struct import Struct
from connleak.model.verdict import Verdict

AROUND = 5
"""Lines before and after a site's line."""
LONGEST = 200
"""Characters of a line."""


class Excerpt(Struct, frozen=True):
    """Consecutive lines of a file, from line number `first` on."""

    first: int
    lines: tuple[str, ...]


Excerpts = dict[str, Excerpt]
"""By `file:line`."""


def bounded(stored: Excerpts) -> Excerpts:
    """Return stored excerpts cut to the size that `excerpt_around` gives, since the folder's file may be any size."""
    return {
        place: Excerpt(excerpt.first, tuple(line[:LONGEST] for line in excerpt.lines[: 2 * AROUND + 1]))
        for place, excerpt in stored.items()
    }


def excerpt_around(lines: list[str], number: int) -> Excerpt | None:
    """Return the lines around a line number; None where the file has no such line."""
    first = max(1, number - AROUND)
    part = lines[first - 1 : number + AROUND]
    return Excerpt(first, tuple(line[:LONGEST] for line in part)) if part else None


def code_at(excerpts: Excerpts, site: Site) -> str:
    """Return the site's line of code, stripped; empty if it was not stored."""
    excerpt = excerpts.get(f"{site.file}:{site.line}")
    lines = excerpt.lines if excerpt else ()
    at = site.line - excerpt.first if excerpt else 0
    return lines[at].strip() if 0 <= at < len(lines) else ""


def sites_of(verdict: Verdict) -> Iterator[Site]:
    """Yield the sites that the findings and the holder table name."""
    for finding in verdict.findings:
        yield from finding.sites
    for row in verdict.holders:
        if row.site:
            yield row.site
