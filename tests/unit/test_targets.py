"""The corpus as a whole: its size, its pages, its marked lines, and a variant for each verdict."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from connleak.cli.targets import index_page, story_of
from connleak.model.outcomes import KINDS, OUTCOMES
from connleak.model.target import Target, Variant
from connleak.plan import catalog
from rich.console import Console

TARGETS = list(catalog.targets().values())
VARIANTS = [(target, variant) for target in TARGETS for variant in target.variants.values()]
PAGE = ("**The question.**", "**What is wrong.**", "**How it looks.**", "**Why the fix works.**", "Seen in:")


def names(pairs: list[tuple[Target, Variant]]) -> list[str]:
    return [f"{target.name}:{variant.name}" for target, variant in pairs]


def test_the_corpus_has_64_targets_and_233_variants_at_least() -> None:
    assert len(TARGETS) >= 64 and len(VARIANTS) >= 233


def test_half_of_the_variants_are_fixed_or_controls() -> None:
    good = [pair for pair in VARIANTS if pair[1].name.startswith(("fixed", "control"))]
    assert len(good) >= len(VARIANTS) / 2


def test_every_outcome_and_every_kind_is_shown_by_a_variant() -> None:
    assert {variant.expect for _, variant in VARIANTS} == set(OUTCOMES)
    assert set(KINDS) - {kind for _, variant in VARIANTS for kind in variant.kinds} == set()


def test_no_fixed_variant_and_no_control_may_have_a_leak_or_a_fault() -> None:
    for _, variant in VARIANTS:
        if variant.name.startswith(("fixed", "control")):
            assert variant.expect in ("clean", "strained", "inconclusive")
            assert {KINDS[kind].outcome for kind in (*variant.kinds, *variant.may)} <= {"strained"}


@pytest.mark.parametrize(("target", "variant"), VARIANTS, ids=names(VARIANTS))
def test_a_leak_has_its_line_marked_and_nothing_else_has(target: Target, variant: Variant) -> None:
    source = Path(target.folder, f"{variant.module}.py").read_text(encoding="utf-8")
    others = {v.expect for v in target.variants.values() if v.module == variant.module}
    named = variant.expect == "leak" and (
        not variant.kinds or any(KINDS[kind].at_line for kind in (*variant.kinds, *variant.may))
    )
    assert ("# leak:" in source) == (named or "leak" in others)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target_has_a_page_that_answers_in_order(target: Target) -> None:
    text = Path(target.folder, "README.md").read_text(encoding="utf-8")
    places = [text.find(part) for part in PAGE]
    assert -1 not in places and places == sorted(places)
    files = {path.stem for path in Path(target.folder).glob("*.py")}
    assert files == {variant.module for variant in target.variants.values()}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_each_file_stands_alone_and_begins_with_its_one_sentence(target: Target) -> None:
    for path in Path(target.folder).glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert re.match(r'"""[A-Z].*\."""\n\n', source), path
        assert "import connleak" not in source and "from connleak" not in source
        siblings = {other.stem for other in path.parent.glob("*.py")}
        imported = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
        assert not imported & siblings, path


@pytest.mark.parametrize(
    "target", [t for t in TARGETS if not Path(t.folder, "buggy.py").exists()], ids=lambda target: target.name
)
def test_targets_whose_variants_are_versions_can_be_shown(target: Target) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(story_of(target))
    assert f"{target.name}:" in console.export_text()


def test_the_index_of_the_pages_is_as_the_command_writes_it() -> None:
    index = Path(catalog.corpus(), "targets", "README.md").read_text(encoding="utf-8")
    assert index == index_page(TARGETS) + "\n", "connleak list --markdown > targets/README.md"
