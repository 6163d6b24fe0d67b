"""Lines of the app's code around the sites that a verdict names: kept with the recording, since code changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from connleak.model import Plan, Site, Struct
from connleak.verdict import Verdict

AROUND = 5
"""Lines before and after a site's."""
LONGEST = 200
"""Characters of a line."""


class Excerpt(Struct, frozen=True):
    """Lines of a file, beginning with number `first`."""

    first: int
    lines: tuple[str, ...]


Excerpts = dict[str, Excerpt]
"""By `file:line`."""


def excerpts_of(plan: Plan, verdict: Verdict) -> Excerpts:
    """Returns the lines around each site that the verdict names, of the files that are there."""
    found: Excerpts = {}
    for site in dict.fromkeys(sites_of(verdict)):
        try:
            lines = Path(plan.cwd, site.file).read_text(encoding="utf-8", errors="replace").splitlines()
        except (OSError, ValueError):  # a file name may be any text
            continue
        first = max(1, site.line - AROUND)
        part = lines[first - 1 : site.line + AROUND]
        if part:
            found[f"{site.file}:{site.line}"] = Excerpt(first, tuple(line[:LONGEST] for line in part))
    return found


def sites_of(verdict: Verdict) -> Iterator[Site]:
    for finding in verdict.findings:
        yield from finding.sites
    for row in verdict.holders:
        if row.site:
            yield row.site
