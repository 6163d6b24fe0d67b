"""The gallery: one packed recording per variant, stored in the repository, and the field guide generated from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from connleak.corpus import archive, grading
from connleak.corpus.fingerprint import Fingerprint, fingerprint_of
from connleak.model.errors import Error
from connleak.model.recording import Recording
from connleak.model.struct import Struct
from connleak.model.target import Pair, Target, Variant
from connleak.model.verdict import Verdict
from connleak.plan import catalog
from connleak.recording import folders, reader
from connleak.recording.format import json_text
from connleak.render import charts, guide
from connleak.render.sanitize import first_line
from connleak.runner import report as reports

HINT = "connleak gallery --record"
SUFFIX = ".tar.gz"


class Entry(Struct, frozen=True, kw_only=True):
    """A variant's row in gallery.json: the result of its recording."""

    target: str
    variant: str
    expect: str
    outcome: str
    kinds: tuple[str, ...]
    site: str
    sentence: str
    at_rest: tuple[int, ...]
    peak: int
    fingerprint: Fingerprint


def place(gallery: Path, target: str, variant: str) -> Path:
    """Return the path of a variant's packed recording."""
    return gallery / "recordings" / f"{target}-{variant}{SUFFIX}"


def record(
    wanted: list[Pair],
    gallery: Path,
    source: Path | None,
    work: Path,
    report: Callable[[str, str], None],
) -> list[str]:
    """Pack a recording of each variant into the gallery; return the problems.

    The recordings are made in `work`, or come from `source`, the folder of an earlier corpus run. A recording whose
    verdict differs from its target's expectation is not packed.
    """
    found: list[str] = []
    for target, variant in wanted:
        name = f"{target.name}:{variant.name}"
        folder = (source or work) / grading.folder_name(name, 0)
        if source is None:
            row = grading.run_variant(name, folder)
            problems = row.problems
        else:
            problems = tuple(problems_of(folder, variant, target))
        if not problems:
            try:
                archive.pack(folder, place(gallery, target.name, variant.name), root_of(folder))
            except Error as error:
                problems = (error.message,)
        report(name, "; ".join(problems))
        found += [f"{name}: {problem}" for problem in problems]
    return found


def problems_of(folder: Path, variant: Variant, target: Target) -> list[str]:
    """Return why a recording of an earlier corpus run cannot be used: it is missing, or its verdict is unexpected."""
    if not folders.is_file(folder / "plan.json"):
        return [f"{folder} has no recording"]
    _, verdict = reports.judge_folder(folder)
    return list(grading.problems_of(variant, verdict, Path(target.folder)))


def root_of(folder: Path) -> Path:
    """Return the folder to which a recording's paths are relative: the parent of the targets."""
    return Path(reader.read_plan(folder).cwd).parent.parent


def render(gallery: Path, report: Callable[[str], None]) -> None:
    """Generate the gallery from its recordings: a chart per target, gallery.json, README.md and index.html."""
    targets = catalog.targets()
    missing = [
        f"{target.name}:{variant}"
        for target in targets.values()
        for variant in target.variants
        if not place(gallery, target.name, variant).exists()
    ]
    if missing:
        raise Error(f"the gallery has no recording of {', '.join(missing[:5])}", f"{HINT} -k {missing[0]}")
    remove_obsolete(gallery, targets)
    chapters = []
    entries: list[Entry] = []
    for target in targets.values():
        runs = {name: read(place(gallery, target.name, name)) for name in target.variants}
        entries += [entry(target, name, *run) for name, run in runs.items()]
        pair = catalog.lesson(target)
        shown = {v.name: [runs[v.name]] for v in pair} if pair else {name: [run] for name, run in runs.items()}
        chart = charts.multiples_chart(shown, target.title, columns=2)
        folders.write(gallery / f"{target.name}.svg", charts.to_svg(chart), folders.SHARED)
        diff = catalog.difference(Path(target.folder), *pair) if pair else ""
        verdicts = {name: verdict for name, (_, verdict) in runs.items()}
        chapters.append(guide.chapter(target, verdicts, story(target), diff))
        report(target.name)
    folders.write(gallery / "gallery.json", json_text({"variants": entries}), folders.SHARED)
    folders.write(gallery / "README.md", guide.markdown(chapters), folders.SHARED)
    folders.write(gallery / "index.html", guide.page(chapters), folders.SHARED)


def remove_obsolete(gallery: Path, targets: dict[str, Target]) -> None:
    """Remove the charts and recordings of targets and variants that no longer exist."""
    kept = {place(gallery, target.name, variant).name for target in targets.values() for variant in target.variants}
    kept |= {f"{name}.svg" for name in targets}
    for path in (*gallery.glob("*.svg"), *(gallery / "recordings").glob("*")):
        if path.name not in kept:
            path.unlink()


def read(path: Path) -> tuple[Recording, Verdict]:
    """Return a packed recording and its verdict."""
    with archive.unpacked(path) as folder:
        return reader.read(folder), archive.verdict_in(folder)


def entry(target: Target, name: str, made: Recording, verdict: Verdict) -> Entry:
    """Return a variant's row of gallery.json."""
    first = verdict.findings[0].sites[:1] if verdict.findings else ()
    return Entry(
        target=target.name,
        variant=name,
        expect=target.variants[name].expect,
        outcome=verdict.outcome,
        kinds=tuple(finding.kind for finding in verdict.findings),
        site=str(first[0]) if first else "",
        sentence=first_line(verdict.sentence),
        at_rest=tuple(verdict.evidence.get("at_rest", ())),
        peak=verdict.evidence.get("peak", 0),
        fingerprint=fingerprint_of(made, verdict),
    )


def story(target: Target) -> str:
    """Return the text of a target's page; empty if it has none."""
    path = Path(target.folder, "README.md")
    return path.read_text(encoding="utf-8") if path.exists() else ""
