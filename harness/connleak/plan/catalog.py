"""Find targets and scenarios, in the clone beside the package or in the wheel's `_corpus`, and read target.toml."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from connleak.model.errors import Error
from connleak.model.outcomes import KINDS
from connleak.model.target import SHARED_KEYS, TARGET_KEYS, VARIANT_KEYS, Target, Variant

HERE = Path(__file__).parent.parent


class Outline(msgspec.Struct, frozen=True):
    """The part of a target.toml that must be right before the target's keys are repeated in its variants."""

    variants: dict[str, dict[str, Any]]


def corpus() -> Path:
    """Return the folder with targets/ and scenarios/."""
    clone = HERE.parents[1]
    return clone if (clone / "targets").is_dir() and (clone / "harness").is_dir() else HERE / "_corpus"


@cache
def targets() -> dict[str, Target]:
    """Return every target by name; raise Error for a target.toml that cannot be read."""
    found = sorted((corpus() / "targets").glob("*/target.toml"))
    return {path.parent.name: read_target(path) for path in found}


def read_target(path: Path) -> Target:
    """Return the target of a target.toml; raise Error with the file, the key and the allowed values."""
    command = f"$EDITOR {path}"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Error(f"{path} is not valid TOML: {error}", command) from None
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}", command) from None
    try:
        target = msgspec.convert(with_inherited_keys(raw, path.parent), Target)
    except msgspec.ValidationError as error:
        raise Error(f"{path}: {error}{known_keys(str(error))}", command) from None
    for problem in problems(target):
        raise Error(f"{path}: {problem}", command)
    return target


def with_inherited_keys(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a target.toml's content with the names filled in, and the target's shared keys in each variant."""
    shared = {key: value for key, value in raw.items() if key in SHARED_KEYS}
    for key in ("name", "folder"):
        if key in raw:
            raise msgspec.ValidationError(f"Object contains unknown field `{key}`")
    variants = {}
    for name, variant in msgspec.convert(raw, Outline).variants.items():
        if "name" in variant:
            raise msgspec.ValidationError("Object contains unknown field `name` - at `$.variants[...]`")
        variants[name] = {"module": name, **shared, **variant, "name": name}
    own = {key: value for key, value in raw.items() if key not in SHARED_KEYS}
    return {**own, "name": folder.name, "folder": str(folder), "variants": variants}


def problems(target: Target) -> Iterator[str]:
    """Yield the errors of a target whose values are all of the right type."""
    if not target.variants:
        yield "[variants] is empty; it takes at least one variant with `expect`"
    for name, variant in target.variants.items():
        for kind in (*variant.kinds, *variant.may):
            if kind not in KINDS:
                yield f"variants.{name}: {kind!r} is not a finding kind; allowed: {', '.join(KINDS)}"
        if not Path(target.folder, f"{variant.module}.py").exists():
            yield f"variants.{name}: there is no {variant.module}.py beside it"


def known_keys(message: str) -> str:
    """Return the end of a message about an unknown key: the known ones."""
    if "unknown field" not in message:
        return ""
    return f"; known keys: {', '.join(sorted(VARIANT_KEYS if 'variants' in message else TARGET_KEYS))}"


def find(name: str) -> tuple[Target, Variant]:
    """Return the target and variant of `TARGET[:VARIANT]`; without VARIANT that is `buggy`."""
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
    """Return the locustfile of a scenario by its stem."""
    folder = corpus() / "scenarios"
    path = folder / f"{name}.py"
    if not path.exists():
        stems = [file.stem for file in folder.glob("*.py")]
        raise Error(
            f"there is no scenario {name!r}{nearest(name, stems)}; there are: {', '.join(sorted(stems))}",
            f"ls {folder}",
        )
    return path


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the most similar name, or an empty string."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def lesson(target: Target) -> tuple[Variant, Variant] | None:
    """Return the variants whose difference is the lesson: the first buggy or wrong one, and the first fixed one."""
    variants = list(target.variants.values())
    wrong = next((variant for variant in variants if variant.name.startswith(("buggy", "wrong"))), None)
    fixed = next((variant for variant in variants if variant.name.startswith("fixed")), None)
    return (wrong, fixed) if wrong and fixed else None


def difference(folder: Path, before: Variant, after: Variant) -> str:
    """Return the unified diff of two variants' files; of one file, the difference of how it runs."""
    if before.module != after.module:
        return unified_diff(folder / f"{before.module}.py", folder / f"{after.module}.py")
    old, new = (
        [f"{variant.name}:", *variant.requirements, f"Python {variant.python or 'of connleak'}", variant.serve]
        for variant in (before, after)
    )
    return "\n".join(line for line in difflib.ndiff(old, new) if not line.startswith("?"))


def unified_diff(before: Path, after: Path) -> str:
    """Return the unified diff of two files."""
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (before, after))
    return "\n".join(difflib.unified_diff(old, new, before.name, after.name, lineterm=""))
