"""The prerequisites of the corpus on this machine: environments, which it builds, and programs, which it looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from connleak.databases.registry import find_server
from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.model.target import Pair
from connleak.processes.services import find_service
from connleak.processes.venv import environment


class Prerequisite(Struct, frozen=True):
    """A program or environment that variants need; where it is missing, why, and the command that installs it."""

    name: str
    missing: str = ""
    command: str = ""


def prepare(variants: Iterable[Pair], jobs: int, report: Callable[[Prerequisite], None]) -> list[Prerequisite]:
    """Build every environment of the variants, look for every program, and return all prerequisites."""
    pairs = list(variants)
    with ThreadPoolExecutor(jobs) as workers:
        found = []
        for prerequisite in workers.map(lambda item: check(*item), [*programs(pairs), *environments(pairs)]):
            report(prerequisite)
            found.append(prerequisite)
    return found


def programs(pairs: list[Pair]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the database servers and services of the targets, each with the function that finds it."""
    for kind in sorted({target.database for target, _ in pairs}):
        yield kind, partial(find_server, kind)
    for service in sorted({service for target, _ in pairs for service in target.services}):
        yield service, partial(find_service, service)


def environments(pairs: list[Pair]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the environments of the variants, each once, with the function that builds it."""
    wanted = {(v.python, tuple(sorted(v.requirements))) for _, v in pairs if v.requirements or v.python}
    for python, requirements in sorted(wanted):
        yield (
            f"Python {python or 'of connleak'}: {', '.join(requirements)}",
            partial(environment, python, *requirements),
        )


def check(name: str, find: Callable[[], object]) -> Prerequisite:
    """Return a prerequisite after trying to find or build it."""
    try:
        find()
    except Error as error:
        return Prerequisite(name, error.message, error.hint)
    return Prerequisite(name)
