"""Compare a recording with the known bugs of the gallery: the best matches, with their agreements and differences."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.text import Text

from connleak.corpus.fingerprint import Match, fingerprint_of, similarity
from connleak.corpus.gallery import Entry
from connleak.model.errors import Error
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.plan import catalog
from connleak.recording import folders, reader
from connleak.render.sanitize import first_line, plain

SHOWN = 3
"""Matches that are returned; more where several have the score of the last one."""
LEAST = 0.5
"""The score that a match needs."""


def known() -> list[Entry]:
    """Return the gallery's entries, one for each variant."""
    path = catalog.corpus() / "reports" / "gallery" / "gallery.json"
    return reader.read_json(path, dict[str, list[Entry]], "connleak gallery")["variants"]


def diagnose(recording: Recording, verdict: Verdict, entries: list[Entry]) -> list[Match]:
    """Return the targets that a recording matches, the best first, each once; none for a clean recording."""
    if verdict.outcome == "clean":
        return []
    mine = fingerprint_of(recording, verdict)
    best: dict[str, Match] = {}
    for entry in entries:
        if entry.outcome == "clean":
            continue
        score, agrees, differs = similarity(mine, entry.fingerprint)
        if score > (best[entry.target].score if entry.target in best else LEAST):
            best[entry.target] = Match(
                target=entry.target,
                variant=entry.variant,
                title=catalog.targets()[entry.target].title if entry.target in catalog.targets() else "",
                score=round(score, 3),
                agrees=tuple(agrees),
                differs=tuple(differs),
            )
    matches = sorted(best.values(), key=lambda match: (-match.score, match.target))
    last = matches[min(SHOWN, len(matches)) - 1].score if matches else 0.0
    return [match for match in matches if match.score >= last]


def remedy(match: Match) -> str:
    """Return the title of the fix of a match's target."""
    fixed = [v for name, v in catalog.targets()[match.target].variants.items() if name.startswith("fixed")]
    return fixed[0].title if fixed else ""


def diagnosis(verdict: Verdict, matches: list[Match]) -> Group:
    """Return the matches as text for a terminal."""
    if verdict.outcome == "clean":
        return Group(Text("nothing to diagnose: the verdict is clean"))
    if not matches:
        return Group(plain(Text(f"no known leak matches: {first_line(verdict.sentence)}")))
    parts = []
    for match in matches:
        text = Text()
        text.append(f"{100 * match.score:3.0f} %  {match.target}:{match.variant}", "bold")
        text.append(f"  {match.title}\n")
        text.append(f"       for:      {'; '.join(match.agrees)}\n")
        if match.differs:
            text.append(f"       against:  {'; '.join(match.differs)}\n")
        text.append(f"       try:      {remedy(match)}  (connleak show {match.target})\n", "green")
        parts.append(plain(text))
    return Group(*parts)


def need_folder(name: str) -> Path:
    """Return the folder of a recording; raise Error when there is none."""
    folder = folders.follow_link(name)
    if not folders.is_file(folder / "plan.json"):
        raise Error(f"{name} is not a recording: it has no plan.json", "connleak diagnose reports/latest")
    return folder
