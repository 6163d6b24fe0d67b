"""What the corpus needs of this machine: environments, which are made, and programs, which are named when missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from connleak.databases.registry import find_server
from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.model.target import Target, Variant
from connleak.processes.services import find_service
from connleak.processes.venv import environment


class Need(Struct, frozen=True):
    """One thing that variants need, whether it is here, and what to type when it is not."""

    name: str
    missing: str = ""
    get: str = ""


def prepare(wanted: Iterable[tuple[Target, Variant]], jobs: int, report: Callable[[Need], None]) -> list[Need]:
    """Makes every environment that the variants name, looks for every server; returns all that they need."""
    pairs = list(wanted)
    with ThreadPoolExecutor(jobs) as workers:
        needs = []
        for need in workers.map(lambda item: looked_for(*item), list(programs(pairs)) + list(environments(pairs))):
            report(need)
            needs.append(need)
    return needs


def programs(pairs: list[tuple[Target, Variant]]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields the database servers and services of the targets, each with the function that looks for it."""
    for kind in sorted({target.database for target, _ in pairs}):
        yield kind, partial(find_server, kind)
    for service in sorted({service for target, _ in pairs for service in target.services}):
        yield service, partial(find_service, service)


def environments(pairs: list[tuple[Target, Variant]]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields the environments of the variants, each once."""
    kept = {(v.python, tuple(sorted(v.requirements))) for _, v in pairs if v.requirements or v.python}
    for python, requirements in sorted(kept):
        yield f"Python {python or 'as ours'}: {', '.join(requirements)}", partial(environment, python, *requirements)


def looked_for(name: str, look: Callable[[], object]) -> Need:
    try:
        look()
    except Error as error:
        return Need(name, error.message, error.hint)
    return Need(name)
