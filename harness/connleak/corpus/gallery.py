"""The gallery: one small recording a variant, kept in the repository, and the field guide that is drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from connleak.corpus import archive, grading
from connleak.corpus.fingerprint import Fingerprint, fingerprint_of
from connleak.model.errors import Error
from connleak.model.recording import Recording
from connleak.model.struct import Struct
from connleak.model.target import Target, Variant
from connleak.model.verdict import Verdict
from connleak.plan import catalog
from connleak.recording import folders, reader
from connleak.recording.format import json_text
from connleak.render import charts, guide
from connleak.render.sanitize import first_line
from connleak.runner import report as results

HINT = "connleak gallery --record"
KIND = ".tar.gz"
Told = Callable[[str, str], None]


class Entry(Struct, frozen=True, kw_only=True):
    """A variant's place in gallery.json: what its recording says."""

    target: str
    variant: str
    expect: str
    outcome: str
    kinds: tuple[str, ...]
    site: str
    sentence: str
    at_rest: tuple[int, ...]
    peak: int
    signature: Fingerprint


def place(gallery: Path, target: str, variant: str) -> Path:
    """Returns a variant's packed recording."""
    return gallery / "recordings" / f"{target}-{variant}{KIND}"


def record(
    wanted: list[tuple[Target, Variant]],
    gallery: Path,
    source: Path | None,
    work: Path,
    told: Callable[[str, str], None],
) -> list[str]:
    """Packs a recording of each variant into the gallery; returns what could not be.

    They are made anew in `work`, or taken from `source`, the folder of a corpus that was run. One that is not as its
    target promises is never taken.
    """
    problems = []
    for target, variant in wanted:
        name = f"{target.name}:{variant.name}"
        folder = (source or work) / grading.folder_name(name, 0)
        if source is None:
            row = grading.run_variant(name, folder)
            wrong = row.problems
        else:
            wrong = tuple(taken_wrong(folder, variant, target))
        if not wrong:
            try:
                archive.pack(folder, place(gallery, target.name, variant.name), root_of(folder))
            except Error as error:
                wrong = (error.message,)
        told(name, "; ".join(wrong))
        problems += [f"{name}: {words}" for words in wrong]
    return problems


def taken_wrong(folder: Path, variant: Variant, target: Target) -> list[str]:
    """Returns why a recording of a corpus that was run may not be taken: it is not there, or not as promised."""
    if not folders.is_file(folder / "plan.json"):
        return [f"{folder} has no recording"]
    _, verdict = results.judge_folder(folder)
    return list(grading.problems_of(variant, verdict, Path(target.folder)))


def root_of(folder: Path) -> Path:
    """Returns the folder that a recording's paths are named from: that of the targets it ran."""
    return Path(reader.read_plan(folder).cwd).parent.parent


def render(gallery: Path, told: Callable[[str], None]) -> None:
    """Draws the gallery from its recordings: a chart a target, gallery.json, README.md and index.html."""
    targets = catalog.targets()
    missing = [
        f"{target.name}:{variant}"
        for target in targets.values()
        for variant in target.variants
        if not place(gallery, target.name, variant).exists()
    ]
    if missing:
        raise Error(f"the gallery has no recording of {', '.join(missing[:5])}", f"{HINT} -k {missing[0]}")
    remove_strangers(gallery, targets)
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
        told(target.name)
    folders.write(gallery / "gallery.json", json_text({"variants": entries}), folders.SHARED)
    folders.write(gallery / "README.md", guide.markdown(chapters), folders.SHARED)
    folders.write(gallery / "index.html", guide.page(chapters), folders.SHARED)


def remove_strangers(gallery: Path, targets: dict[str, Target]) -> None:
    """Removes charts and recordings of what is no target any more."""
    kept = {place(gallery, target.name, variant).name for target in targets.values() for variant in target.variants}
    kept |= {f"{name}.svg" for name in targets}
    for path in (*gallery.glob("*.svg"), *(gallery / "recordings").glob("*")):
        if path.name not in kept:
            path.unlink()


def read(path: Path) -> tuple[Recording, Verdict]:
    """Returns a packed recording and its verdict."""
    with archive.unpacked(path) as folder:
        return reader.read(folder), archive.verdict_in(folder)


def entry(target: Target, name: str, made: Recording, verdict: Verdict) -> Entry:
    """Returns what gallery.json says of a variant."""
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
        signature=fingerprint_of(made, verdict),
    )


def story(target: Target) -> str:
    """Returns a target's page."""
    path = Path(target.folder, "README.md")
    return path.read_text(encoding="utf-8") if path.exists() else ""
