"""Golden verdicts: the verdict on every stored recording, without its sentences, in one reviewed file.

`verdicts.json` has a sorted entry for each packed recording of the gallery and of `recordings/`, one finding per line.
`python -m golden` compares, `python -m golden --write` rewrites the file, and the difference is reviewed in git.
An entry with `kept` belongs to a recording of which only the curve is stored: it cannot be judged again.
An entry with `known_wrong` is not the right verdict, and states the reason; `cases.py` has the right one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from connleak.corpus import archive
from connleak.model.recording import Site
from connleak.model.verdict import Check, Verdict

HERE = Path(__file__).parent
VERDICTS = HERE / "verdicts.json"
FOLDERS = {
    "gallery": HERE.parents[1] / "reports" / "gallery" / "recordings",
    "golden": HERE / "recordings",
}
DIGITS = 4
"""Significant digits of a float that are compared."""

PROSE = frozenset(
    {
        "sentence",
        "findings.claim",
        "findings.rate.method",
        "checks.detail",
        "sensitivity.text",
        "exhaustion.text",
        "exhaustion.time.text",
        "evidence.notes",
    }
)
"""Fields of a verdict that contain text for readers: they may be reworded and are not compared."""
FIGURES = frozenset(
    {
        "outcome",
        *(f"findings.{name}" for name in ("kind", "bounded_by", "backends", "sites", "first_seen", "docs")),
        *(f"findings.rate.{name}" for name in ("value", "low", "high", "per")),
        *(f"findings.requests.{name}" for name in ("name", "held", "of")),
        "checks.name",
        "checks.outcome",
        *(f"sensitivity.{name}" for name in ("value", "per", "requests", "seconds", "confidence")),
        *(f"sensitivity.rarest.{name}" for name in ("name", "requests", "value")),
        *(f"exhaustion.{name}" for name in ("wall", "limit", "now", "unit")),
        *(f"exhaustion.left.{name}" for name in ("value", "low", "high")),
        *(f"exhaustion.time.{name}" for name in ("at", "low", "high")),
        *(f"evidence.{name}" for name in ("baseline", "at_rest", "budget", "peak", "max_connections")),
        *(f"evidence.{name}" for name in ("requests", "seconds", "samples")),
        *(f"evidence.residents.{name}" for name in ("backend", "site", "process")),
        *(
            f"{table}.{name}"
            for table in ("holders", "postmortem.holders")
            for name in (
                *("backend", "state", "state_for", "transaction_for", "session_for", "query", "held_for", "site"),
                *("stack", "process", "host", "worker", "alive", "now", "request", "source"),
            )
        ),
        "postmortem.t",
        "postmortem.reason",
        "postmortem.series.*",
    }
)
"""All other fields, which are compared. `*` matches any name, because these names come from the recording."""


class Unassigned(Exception):
    """A field of a verdict that is declared neither as prose nor as a figure."""


def figures_of(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain values, without its prose; raise Unassigned for an undeclared field."""
    return {name: figure(value, name) for name, value in members(verdict) if name not in PROSE}


def figure(value: object, path: str) -> Any:
    """Return the plain value at a path of a verdict."""
    if isinstance(value, tuple | list):
        if value and isinstance(value[0], Check):
            return checks_of(value)
        return [figure(element, path) for element in value]
    if isinstance(value, Site):
        value = f"{value.file}:{value.line} {value.function}"
    if isinstance(value, msgspec.Struct | dict):
        inside = {name: f"{path}.{name}" for name, _ in members(value)}
        return {name: figure(part, inside[name]) for name, part in members(value) if inside[name] not in PROSE}
    if not is_figure(path, value):
        raise Unassigned(f"{path} is neither in golden.PROSE nor in golden.FIGURES")
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def is_figure(path: str, value: object) -> bool:
    """Return whether a value is declared as a figure; None may replace a whole table."""
    table = value is None and any(name.startswith(f"{path}.") for name in FIGURES)
    return table or path in FIGURES or f"{path.rpartition('.')[0]}.*" in FIGURES


def checks_of(checks: tuple[Check, ...]) -> dict[str, str]:
    """Return the outcome of each check by its name."""
    return {check.name: check.outcome for check in checks}


def members(value: msgspec.Struct | dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of a struct or a dictionary, without a struct's defaults."""
    if isinstance(value, dict):
        yield from value.items()
        return
    for field in msgspec.structs.fields(value):
        found = getattr(value, field.name)
        if field.default is msgspec.NODEFAULT or found != field.default:
            yield field.name, found


def declared(kind: type[msgspec.Struct] = Verdict, path: str = "") -> Iterator[str]:
    """Yield the paths of all fields of a verdict's types, except those inside a dictionary."""
    for field in msgspec.structs.fields(kind):
        name = f"{path}{field.name}"
        inner = struct_in(field.type)
        if inner is None or inner is Site:
            yield name
        else:
            yield from declared(inner, f"{name}.")


def struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct in a type: the type itself, or a part of a tuple or an optional."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for part in getattr(kind, "__args__", ()) if (found := struct_in(part))), None)


def recordings() -> dict[str, Path]:
    """Return every packed recording by its name in the file of verdicts."""
    return {
        f"{group}/{path.name.removesuffix('.tar.gz')}": path
        for group, folder in FOLDERS.items()
        for path in sorted(folder.glob("*.tar.gz"))
    }


def entry(path: Path, known_wrong: str = "") -> dict[str, Any]:
    """Return the entry of a packed recording in the file of verdicts."""
    with archive.unpacked(path) as folder:
        kept = (folder / "verdict.json").exists()
        verdict = archive.verdict_in(folder)
    about: dict[str, Any] = {"kept": True} if kept else {}
    if known_wrong:
        about["known_wrong"] = known_wrong
    return about | figures_of(verdict)


def stored() -> dict[str, Any]:
    """Return the file of verdicts."""
    return dict(json.loads(VERDICTS.read_text(encoding="utf-8")))


def text_of(entries: dict[str, Any]) -> str:
    """Return entries as JSON with a line for each field, and for each finding, holder and row of a table."""
    return written(dict(sorted(entries.items())), 2) + "\n"


def written(value: Any, depth: int, indent: str = "") -> str:
    """Return a value as JSON: dictionaries down to a depth, and lists of dictionaries, over several lines."""
    inner = indent + " "
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(inner + compact(element) for element in value) + f"\n{indent}]"
    if isinstance(value, dict) and value and (depth or any(is_table(part) for part in value.values())):
        parts = (f"{inner}{compact(name)}: {written(part, max(0, depth - 1), inner)}" for name, part in value.items())
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return compact(value)


def is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yield each field in which two plain values differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from differences(before.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from differences(*pair, f"{path}[{number}]")
    elif before != now:
        yield f"{path}: {compact(before)} -> {compact(now)}"
