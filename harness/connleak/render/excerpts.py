"""Lines of the app's code around the sites that a verdict names: kept with the recording, since code changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from connleak.model.plan import Plan
from connleak.model.recording import Site
from connleak.model.struct import Struct
from connleak.model.verdict import Verdict

AROUND = 5
"""Lines before and after a site's."""
LONGEST = 200
"""Characters of a line."""
LARGEST = 10_000_000
"""Bytes that a file of code may have."""


class Excerpt(Struct, frozen=True):
    """Lines of a file, beginning with number `first`."""

    first: int
    lines: tuple[str, ...]


Excerpts = dict[str, Excerpt]
"""By `file:line`."""


def excerpts_of(plan: Plan, verdict: Verdict) -> Excerpts:
    """Returns the lines around each site that the verdict names, of the files that are there.

    Only of a recording that was made here and now: the sites of any other may name any file of this machine.
    """
    found: Excerpts = {}
    for site in dict.fromkeys(sites_of(verdict)):
        part = lines_around(plan, site)
        if part is not None:
            found[f"{site.file}:{site.line}"] = part
    return found


def lines_around(plan: Plan, site: Site) -> Excerpt | None:
    """Returns the lines around a site; None when its file is not there, or a probe elsewhere may have named it."""
    path = Path(plan.cwd, site.file)
    try:
        if plan.listen and not path.resolve().is_relative_to(Path(plan.cwd).resolve()):
            return None
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError, RuntimeError):  # a file name may be any text
        return None
    first = max(1, site.line - AROUND)
    part = lines[first - 1 : site.line + AROUND]
    return Excerpt(first, tuple(line[:LONGEST] for line in part)) if part else None


def bounded(kept: Excerpts) -> Excerpts:
    """Returns excerpts as `excerpts_of` makes them, whatever a folder has under that name."""
    return {
        place: Excerpt(excerpt.first, tuple(line[:LONGEST] for line in excerpt.lines[: 2 * AROUND + 1]))
        for place, excerpt in kept.items()
    }


def code_at(excerpts: Excerpts, site: Site) -> str:
    """Returns the line of code of a site, stripped, when it was kept."""
    excerpt = excerpts.get(f"{site.file}:{site.line}")
    lines = excerpt.lines if excerpt else ()
    at = site.line - excerpt.first if excerpt else 0
    return lines[at].strip() if 0 <= at < len(lines) else ""


def sites_of(verdict: Verdict) -> Iterator[Site]:
    for finding in verdict.findings:
        yield from finding.sites
    for row in verdict.holders:
        if row.site:
            yield row.site
