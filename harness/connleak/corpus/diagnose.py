"""A recording -> the known bugs that it looks like, with what speaks for each and what against."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.text import Text

from connleak.corpus.fingerprint import Likeness, likeness, signature
from connleak.corpus.gallery import Entry
from connleak.model.errors import Error
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.plan import catalog
from connleak.recording import folders, reader
from connleak.render.sanitize import first_line, plain

BEST = 3
LEAST = 0.5
"""Likeness below which nothing is said to be alike."""


def known() -> list[Entry]:
    """Returns the gallery's entries: what each variant's recording looks like."""
    path = catalog.corpus() / "reports" / "gallery" / "gallery.json"
    return reader.read_json(path, dict[str, list[Entry]], "connleak gallery")["variants"]


def diagnose(read: Recording, verdict: Verdict, entries: list[Entry]) -> list[Likeness]:
    """Returns the targets that a recording is like, the likest first, a target once; none for a clean one."""
    if verdict.outcome == "clean":
        return []
    mine = signature(read, verdict)
    best: dict[str, Likeness] = {}
    for entry in entries:
        if entry.outcome == "clean":
            continue
        score, agrees, differs = likeness(mine, entry.signature)
        if score > best.get(entry.target, Likeness(target="", variant="", title="", score=LEAST)).score:
            title = catalog.targets()[entry.target].title if entry.target in catalog.targets() else ""
            best[entry.target] = Likeness(
                target=entry.target,
                variant=entry.variant,
                title=title,
                score=round(score, 3),
                agrees=tuple(agrees),
                differs=tuple(differs),
            )
    found = sorted(best.values(), key=lambda one: (-one.score, one.target))
    least = found[min(BEST, len(found)) - 1].score if found else 0.0
    return [one for one in found if one.score >= least]  # those that are as like as the third, too


def remedy(found: Likeness) -> str:
    """Returns what the target's fix is."""
    fixed = [v for name, v in catalog.targets()[found.target].variants.items() if name.startswith("fixed")]
    return fixed[0].title if fixed else ""


def shown(verdict: Verdict, likenesses: list[Likeness]) -> Group:
    """Returns the diagnosis for a terminal."""
    if verdict.outcome == "clean":
        return Group(Text("nothing to diagnose: the verdict is clean"))
    if not likenesses:
        return Group(plain(Text(f"like none of the known ones: {first_line(verdict.sentence)}")))
    parts = []
    for found in likenesses:
        text = Text()
        text.append(f"{100 * found.score:3.0f} %  looks like {found.target}:{found.variant}", "bold")
        text.append(f"  {found.title}\n")
        text.append(f"       for:      {'; '.join(found.agrees)}\n")
        if found.differs:
            text.append(f"       against:  {'; '.join(found.differs)}\n")
        text.append(f"       try:      {remedy(found)}  (connleak show {found.target})\n", "green")
        parts.append(plain(text))
    return Group(*parts)


def need_folder(name: str) -> Path:
    """Returns a recording's folder; raises Error when it is none."""
    folder = folders.follow_link(name)
    if not folders.is_file(folder / "plan.json"):
        raise Error(f"{name} is not a recording: it has no plan.json", "connleak diagnose reports/latest")
    return folder
