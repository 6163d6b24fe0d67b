"""Read the source lines that a verdict names, right after the run that executed them."""

from __future__ import annotations

from pathlib import Path

from connleak.model.plan import Plan
from connleak.model.recording import Site
from connleak.model.verdict import Verdict
from connleak.render.excerpts import Excerpt, Excerpts, excerpt_around, sites_of

LARGEST = 10_000_000
"""Maximum size of a source file, in bytes."""


def excerpts_of(plan: Plan, verdict: Verdict) -> Excerpts:
    """Return the lines around each site that the verdict names and whose file can be read.

    Call it only for a recording made by this process: the sites of any other recording may name any file.
    """
    found: Excerpts = {}
    for site in dict.fromkeys(sites_of(verdict)):
        excerpt = read_excerpt(plan, site)
        if excerpt is not None:
            found[f"{site.file}:{site.line}"] = excerpt
    return found


def read_excerpt(plan: Plan, site: Site) -> Excerpt | None:
    """Return the lines around a site; None if its file cannot be read, or lies outside the app's folder and a probe
    on another host may have named it.
    """
    path = Path(plan.cwd, site.file)
    try:
        if plan.listen and not path.resolve().is_relative_to(Path(plan.cwd).resolve()):
            return None
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError, RuntimeError):  # a file name may be any text
        return None
    return excerpt_around(lines, site.line)
