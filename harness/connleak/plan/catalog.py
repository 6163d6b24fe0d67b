"""Finds targets and scenarios: in the clone beside the package, or in the wheel's `_corpus`; reads target.toml."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from connleak.model.errors import Error
from connleak.model.outcomes import KINDS, Outcome
from connleak.model.target import Target, Variant

HERE = Path(__file__).parent.parent


class VariantFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[variants.NAME] of a target.toml; what is left out is taken from the target."""

    expect: Outcome
    kinds: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    title: str = ""
    module: str | None = None
    scenario: str | None = None
    serve: str | None = None
    load: Literal["", "none"] | None = None
    probe: Literal["pool", "queries", "off"] | None = None
    users: int | None = None
    load_seconds: float | None = None
    max_connections: int | None = None
    listens: Literal["http", "tcp", "load"] | None = None
    requirements: tuple[str, ...] | None = None
    python: str | None = None


class TargetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole target.toml."""

    title: str
    serve: str
    variants: dict[str, VariantFile]
    pattern: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    scenario: str = "steady_load"
    database: Literal["postgresql", "pgbouncer", "mysql", "sqlite"] = "postgresql"
    services: tuple[Literal["redis"], ...] = ()
    pooler: dict[str, str] = {}
    hours: float = 0.0
    listens: Literal["http", "tcp", "load"] = "http"
    probe: Literal["pool", "queries", "off"] = "pool"
    load: Literal["", "none"] = ""
    users: int = 16
    load_seconds: float = 1.5
    max_connections: int = 100
    requirements: tuple[str, ...] = ()
    python: str = ""


def corpus() -> Path:
    """Returns the folder that holds targets/ and scenarios/."""
    clone = HERE.parents[1]
    return clone if (clone / "targets").is_dir() and (clone / "harness").is_dir() else HERE / "_corpus"


@cache
def targets() -> dict[str, Target]:
    """Returns every target by name; raises Error for a target.toml that cannot be read."""
    found = sorted((corpus() / "targets").glob("*/target.toml"))
    return {path.parent.name: read_target(path) for path in found}


def read_target(path: Path) -> Target:
    """Returns the target that a target.toml describes; raises Error naming file, key and what is allowed."""
    hint = f"$EDITOR {path}"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Error(f"{path} is no TOML: {error}", hint) from None
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}", hint) from None
    try:
        file = msgspec.convert(raw, TargetFile)
    except msgspec.ValidationError as error:
        raise Error(f"{path}: {error}{allowed(str(error))}", hint) from None
    for name, variant in file.variants.items():
        for kind in (*variant.kinds, *variant.may):
            if kind not in KINDS:
                raise Error(f"{path}: variants.{name}: {kind!r} is no finding kind; allowed: {', '.join(KINDS)}", hint)
        module = path.parent / f"{variant.module or name}.py"
        if not module.exists():
            raise Error(f"{path}: variants.{name}: there is no {module.name} beside it", hint)
    if not file.variants:
        raise Error(f"{path}: [variants] is empty; it takes at least one variant with `expect`", hint)
    return Target(
        name=path.parent.name,
        title=file.title,
        folder=str(path.parent),
        pattern=file.pattern,
        seeds=file.seeds,
        scenario=file.scenario,
        serve=file.serve,
        database=file.database,
        services=file.services,
        pooler=file.pooler,
        hours=file.hours,
        variants={name: variant_of(name, variant, file) for name, variant in file.variants.items()},
    )


def variant_of(name: str, variant: VariantFile, target: TargetFile) -> Variant:
    """Returns a variant with the target's values where it has none of its own."""
    return Variant(
        name=name,
        module=variant.module or name,
        expect=variant.expect,
        kinds=variant.kinds,
        may=variant.may,
        title=variant.title,
        scenario=variant.scenario or target.scenario,
        serve=variant.serve or target.serve,
        load=target.load if variant.load is None else variant.load,
        probe=variant.probe or target.probe,
        listens=variant.listens or target.listens,
        users=variant.users or target.users,
        load_seconds=variant.load_seconds or target.load_seconds,
        max_connections=variant.max_connections or target.max_connections,
        requirements=target.requirements if variant.requirements is None else variant.requirements,
        python=variant.python or target.python,
    )


def allowed(message: str) -> str:
    """Returns what to add to a validation message: the keys that are known, when one is not."""
    if "unknown field" not in message:
        return ""
    struct = VariantFile if "variants" in message else TargetFile
    return f"; known keys: {', '.join(sorted(field.name for field in msgspec.structs.fields(struct)))}"


def find(name: str) -> tuple[Target, Variant]:
    """Returns target and variant for `TARGET[:VARIANT]`, the variant being `buggy` when none is named."""
    target_name, _, variant_name = name.partition(":")
    target = targets().get(target_name)
    if target is None:
        raise Error(f"there is no target {target_name!r}{nearest(target_name, targets())}", "connleak list")
    variant_name = variant_name or ("buggy" if "buggy" in target.variants else next(iter(target.variants)))
    variant = target.variants.get(variant_name)
    if variant is None:
        raise Error(
            f"{target_name} has no variant {variant_name!r}{nearest(variant_name, target.variants)}",
            f"connleak show {target_name}",
        )
    return target, variant


def scenario(name: str) -> Path:
    """Returns the locustfile of a scenario by its stem."""
    folder = corpus() / "scenarios"
    path = folder / f"{name}.py"
    if not path.exists():
        stems = [file.stem for file in folder.glob("*.py")]
        raise Error(
            f"there is no scenario {name!r}{nearest(name, stems)}; there are: {', '.join(sorted(stems))}",
            f"ls {folder}",
        )
    return path


def nearest(name: str, names: object) -> str:
    """Returns `; did you mean 'x'?` for the most similar name, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)  # type: ignore[call-overload]
    return f"; did you mean {close[0]!r}?" if close else ""


def lesson(target: Target) -> tuple[Variant, Variant] | None:
    """Returns the variants whose difference is the lesson: the first that goes wrong, and the first fixed one."""
    variants = list(target.variants.values())
    wrong = next((variant for variant in variants if variant.name.startswith(("buggy", "wrong"))), None)
    fixed = next((variant for variant in variants if variant.name.startswith("fixed")), None)
    return (wrong, fixed) if wrong and fixed else None


def difference(folder: Path, before: Variant, after: Variant) -> str:
    """Returns the unified diff of two variants: of their files, else of what else they differ in."""
    if before.module != after.module:
        return diff(folder / f"{before.module}.py", folder / f"{after.module}.py")
    old, new = (
        [f"{variant.name}:", *variant.requirements, f"Python {variant.python or 'as ours'}", variant.serve]
        for variant in (before, after)
    )
    return "\n".join(line for line in difflib.ndiff(old, new) if not line.startswith("?"))


def diff(before: Path, after: Path) -> str:
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (before, after))
    return "\n".join(difflib.unified_diff(old, new, before.name, after.name, lineterm=""))
