"""The package's modules import each other in one direction only."""

from __future__ import annotations

from collections.abc import Mapping

import grimp


def cycles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others, lazy imports included."""
    reached: dict[str, set[str]] = {}
    for module in imports:
        todo, found = list(imports[module]), set[str]()
        while todo:
            other = todo.pop()
            if other not in found:
                found.add(other)
                todo += imports[other]
        reached[module] = found
    inside = {module for module, found in reached.items() if module in found}
    groups = {frozenset(other for other in inside & reached[module] if module in reached[other]) for module in inside}
    return sorted(sorted(group) for group in groups)


def imports_of(package: str) -> dict[str, set[str]]:
    graph = grimp.build_graph(package, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_no_module_imports_itself_through_others() -> None:
    imports = imports_of("connleak")
    assert "connleak.probe.agent.sender" in imports["connleak.probe.agent"], "relative imports are seen"
    assert cycles(imports) == []


def test_a_cycle_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}) == [["b", "c"]]


def test_the_probe_imports_nothing_from_the_rest_of_the_package() -> None:
    imports = imports_of("connleak")
    probe = {module for module in imports if module.startswith("connleak.probe")}
    assert {other for module in probe for other in imports[module]} <= probe
