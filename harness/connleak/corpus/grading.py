"""The whole corpus, each variant held to what its target promises."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
from msgspec.structs import replace

from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.model.target import Target, Variant
from connleak.model.verdict import Finding, Verdict
from connleak.plan import catalog
from connleak.plan import resolve as plan
from connleak.processes.threads import Supervised
from connleak.runner import report as results
from connleak.runner.record import record

NAMED = ("held", "growth", "collected", "orphaned", "lock-held")
"""Kinds whose line a target marks with `# leak:`."""


class Graded(Struct, frozen=True, kw_only=True):
    """One run of a variant beside what its target promises; `problems` is empty when all holds."""

    target: str
    variant: str
    expect: str
    outcome: str
    kinds: tuple[str, ...] = ()
    site: str = ""
    """The line that the first finding names."""
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    first_try: tuple[str, ...] = ()
    """What did not hold at the first try, where --second-try gave another."""
    folder: str = ""


def chosen(expression: str) -> list[tuple[Target, Variant]]:
    """Returns the variants whose TARGET:VARIANT holds one of the words of an expression, all for an empty one."""
    words = expression.split()
    found = [
        (target, variant)
        for target in catalog.targets().values()
        for variant in target.variants.values()
        if not words or any(word in f"{target.name}:{variant.name}" for word in words)
    ]
    if not found:
        raise Error(f"-k {expression}: no target and no variant has that in its name", "connleak list")
    return found


def corpus(
    pairs: Sequence[tuple[Target, Variant]], repeat: int, jobs: int, folder: Path, report: Callable[[Graded], None]
) -> list[Graded]:
    """Run the variants into `folder`, `jobs` at a time; return each with its grade, in the corpus's order."""
    wanted = [(f"{t.name}:{v.name}", number) for number in range(repeat) for t, v in pairs]
    graded: dict[tuple[str, int], Graded] = {}
    if jobs == 1:
        for name, number in wanted:
            graded[name, number] = one(name, folder / file_name(name, number))
            report(graded[name, number])
    else:
        fork = multiprocessing.get_context("fork")  # Python 3.14's default is a server, whose children are not ours
        with ProcessPoolExecutor(jobs, mp_context=fork, initializer=end_at_once) as workers:
            coming = {
                workers.submit(one, name, folder / file_name(name, number)): (name, number) for name, number in wanted
            }
            try:
                for future in as_completed(coming):
                    graded[coming[future]] = future.result()
                    report(graded[coming[future]])
            except KeyboardInterrupt:
                workers.shutdown(wait=False, cancel_futures=True)
                for worker in psutil.Process().children():
                    worker.terminate()  # what it has started ends with it: the keeper sees to that
                raise
            except BrokenProcessPool:  # which ends the others
                told = (
                    f"a worker was killed after {len(graded)} of {len(wanted)} runs: by the system, if memory is short"
                )
                raise Error(told, "connleak corpus --jobs 1", exit_code=4) from None
    return [graded[key] for key in wanted]


def end_at_once() -> None:
    """Lets SIGTERM end a worker as it does by default, and Ctrl-C be its parent's: no further run may begin.

    It ends with its parent, too, which it would otherwise wait for in vain when that is killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Supervised("parent's end", end_with_parent, lambda *_: os._exit(1)).start()  # which the pool reports


def end_with_parent() -> None:
    """Ends this process when its parent has ended; its keeper then ends what it started."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def second_try(rows: list[Graded], report: Callable[[Graded], None]) -> list[Graded]:
    """Runs once more, one at a time, what did not hold; returns all rows, those with what was wrong at first."""
    after = []
    for row in rows:
        if row.problems:
            again = one(f"{row.target}:{row.variant}", Path(f"{row.folder}-again"))
            row = replace(again, first_try=row.problems)
            report(row)
        after.append(row)
    return after


def file_name(name: str, number: int) -> str:
    return name.replace(":", "-") + (f"-{number + 1}" if number else "")


def one(name: str, folder: Path) -> Graded:
    """Runs a variant and grades it; one that cannot be run has that as its problem."""
    target, variant = catalog.find(name)
    row = Graded(
        target=target.name, variant=variant.name, expect=variant.expect, outcome="could not run", folder=str(folder)
    )
    began = time.monotonic()
    folder.mkdir(mode=0o700, parents=True)
    try:
        made, private = plan.resolve(plan.Options(target=name))
        record(made, private, folder)
        _, verdict = results.judge_whole(folder)
    except Error as error:
        return replace(row, problems=(error.message,), seconds=round(time.monotonic() - began, 1))
    first = verdict.findings[0].sites[:1] if verdict.findings else ()
    return replace(
        row,
        outcome=verdict.outcome,
        kinds=tuple(finding.kind for finding in verdict.findings),
        site=str(first[0]) if first else "",
        seconds=round(time.monotonic() - began, 1),
        problems=tuple(problems(variant, verdict, Path(target.folder))),
    )


def problems(variant: Variant, verdict: Verdict, folder: Path) -> Iterator[str]:
    """Yields what is not as target.toml promises: the outcome, the kinds, the line that a leak names."""
    kinds = [finding.kind for finding in verdict.findings]
    if verdict.outcome != variant.expect:
        yield f"outcome {verdict.outcome}, expected {variant.expect}"
    yield from (f"{kind} is missing" for kind in variant.kinds if kind not in kinds)
    yield from (f"{kind} is one too many" for kind in kinds if kind not in (*variant.kinds, *variant.may))
    if variant.expect == "leak":
        for finding in verdict.findings:
            if finding.kind in NAMED and not names_marked_line(finding, folder):
                site = finding.sites[0] if finding.sites else "no line"
                yield f"{finding.kind} names {site}, which has no # leak: mark"


def names_marked_line(finding: Finding, folder: Path) -> bool:
    """Tells whether the finding's line is one that the target marks.

    Of a lock it is not known which of its session's checkouts took it: there any of its lines will do.
    """
    for site in finding.sites if finding.kind == "lock-held" else finding.sites[:1]:
        try:
            line = (folder / site.file).read_text(encoding="utf-8").splitlines()[site.line - 1]
        except (OSError, IndexError):
            continue
        if "# leak:" in line:
            return True
    return False


def summary(graded: list[Graded]) -> str:
    """Returns the corpus's result in one sentence."""
    wrong = sum(bool(row.problems) for row in graded)
    outcomes = Counter(row.outcome for row in graded)
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    held = "all as promised" if not wrong else f"{wrong} not as promised"
    later = sum(bool(row.first_try) and not row.problems for row in graded)
    held += f", {later} of them at the second try" if later else ""
    return f"{len(graded)} runs, {held} ({told})"


def markdown(graded: list[Graded]) -> str:
    """Returns the graded table for a repository's browser."""
    lines = ["| target | variant | promised | got | kinds | line | s | |", "|---|---|---|---|---|---|---:|---|"]
    for row in graded:
        verdict = "; ".join(row.problems).replace("|", "\\|").splitlines()[0] if row.problems else "right"
        if row.first_try:
            verdict += f" (first try: {'; '.join(row.first_try)})".replace("|", "\\|").splitlines()[0]
        cells = (row.target, row.variant, row.expect, row.outcome, ", ".join(row.kinds), row.site)
        lines.append(f"| {' | '.join(cells)} | {row.seconds:.0f} | {verdict} |")
    return "\n".join([summary(graded), "", *lines]) + "\n"
