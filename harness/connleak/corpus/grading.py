"""Run the variants of the corpus and compare each verdict with what its target promises."""

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
from connleak.model.outcomes import KINDS
from connleak.model.struct import Struct
from connleak.model.target import Pair, Variant
from connleak.model.verdict import Finding, Verdict
from connleak.plan import catalog
from connleak.plan.options import RunOptions
from connleak.plan.resolve import resolve
from connleak.processes.threads import Supervised
from connleak.runner import report
from connleak.runner.record import record


class Graded(Struct, frozen=True, kw_only=True):
    """One run of a variant with its grade; `problems` is empty when the verdict is as promised."""

    target: str
    variant: str
    expect: str
    outcome: str
    kinds: tuple[str, ...] = ()
    site: str = ""
    """The line of the first finding."""
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    first_try: tuple[str, ...] = ()
    """The problems of the first try, where --second-try ran it again."""
    folder: str = ""


def choose(expression: str) -> list[Pair]:
    """Return the variants whose TARGET:VARIANT contains one of the words of an expression; all for an empty one."""
    words = expression.split()
    found = [
        (target, variant)
        for target in catalog.targets().values()
        for variant in target.variants.values()
        if not words or any(word in f"{target.name}:{variant.name}" for word in words)
    ]
    if not found:
        raise Error(f"-k {expression}: no target and no variant has a name that contains it", "connleak list")
    return found


def run_corpus(
    pairs: Sequence[Pair], repeat: int, jobs: int, folder: Path, done: Callable[[Graded], None]
) -> list[Graded]:
    """Run the variants into `folder`, `jobs` at a time, and return their grades in the order of `pairs`."""
    names = [(f"{t.name}:{v.name}", number) for number in range(repeat) for t, v in pairs]
    runs = [(name, folder / folder_name(name, number)) for name, number in names]
    return run_in_parallel(runs, jobs, done) if jobs > 1 else [run_and_report(run, done) for run in runs]


def run_and_report(run: tuple[str, Path], done: Callable[[Graded], None]) -> Graded:
    row = run_variant(*run)
    done(row)
    return row


def run_in_parallel(runs: list[tuple[str, Path]], jobs: int, done: Callable[[Graded], None]) -> list[Graded]:
    """Run variants in several processes, and return their grades in the order of `runs`."""
    fork = multiprocessing.get_context("fork")  # the default of Python 3.14 is a server, which would be the parent
    finished = 0
    with ProcessPoolExecutor(jobs, mp_context=fork, initializer=prepare_worker) as workers:
        futures = [workers.submit(run_variant, *run) for run in runs]
        try:
            for future in as_completed(futures):
                done(future.result())
                finished += 1
        except KeyboardInterrupt:
            workers.shutdown(wait=False, cancel_futures=True)
            for worker in psutil.Process().children():
                worker.terminate()  # its supervisor ends what it has started
            raise
        except BrokenProcessPool:  # the pool has ended the other workers
            message = f"a worker was killed after {finished} of {len(runs)} runs, perhaps for lack of memory"
            raise Error(message, "connleak corpus --jobs 1", exit_code=4) from None
    return [future.result() for future in futures]


def prepare_worker() -> None:
    """Let a worker end at SIGTERM or with its parent, and leave Ctrl-C to the parent, so that no further run starts.

    Without the thread, a worker would wait for a killed parent forever.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Supervised("parent's end", end_with_parent, lambda *_: os._exit(1)).start()  # the pool reports it


def end_with_parent() -> None:
    """End this process when its parent has ended; its supervisor then ends what it has started."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def second_try(rows: list[Graded], done: Callable[[Graded], None]) -> list[Graded]:
    """Run the variants with problems once more, one at a time; return all rows, with the problems of the first try."""
    after = []
    for row in rows:
        if row.problems:
            second = run_variant(f"{row.target}:{row.variant}", Path(f"{row.folder}-again"))
            row = replace(second, first_try=row.problems)
            done(row)
        after.append(row)
    return after


def folder_name(name: str, number: int) -> str:
    return name.replace(":", "-") + (f"-{number + 1}" if number else "")


def run_variant(name: str, folder: Path) -> Graded:
    """Run a variant and return its grade; an Error of the run is its problem."""
    target, variant = catalog.find(name)
    row = Graded(
        target=target.name, variant=variant.name, expect=variant.expect, outcome="could not run", folder=str(folder)
    )
    began = time.monotonic()
    folder.mkdir(mode=0o700, parents=True)
    try:
        plan, secrets = resolve(RunOptions(target=name))
        record(plan, secrets, folder)
        _, verdict = report.judge_whole(folder)
    except Error as error:
        return replace(row, problems=(error.message,), seconds=round(time.monotonic() - began, 1))
    first = verdict.findings[0].sites[:1] if verdict.findings else ()
    return replace(
        row,
        outcome=verdict.outcome,
        kinds=tuple(finding.kind for finding in verdict.findings),
        site=str(first[0]) if first else "",
        seconds=round(time.monotonic() - began, 1),
        problems=tuple(problems_of(variant, verdict, Path(target.folder))),
    )


def problems_of(variant: Variant, verdict: Verdict, folder: Path) -> Iterator[str]:
    """Yield the differences from target.toml: in the outcome, the kinds, or the line of a leak."""
    kinds = [finding.kind for finding in verdict.findings]
    if verdict.outcome != variant.expect:
        yield f"outcome {verdict.outcome}, expected {variant.expect}"
    yield from (f"{kind} is missing" for kind in variant.kinds if kind not in kinds)
    yield from (f"{kind} is not expected" for kind in kinds if kind not in (*variant.kinds, *variant.may))
    if variant.expect == "leak":
        for finding in verdict.findings:
            if KINDS[finding.kind].at_line and not is_at_marked_line(finding, folder):
                site = finding.sites[0] if finding.sites else "no line"
                yield f"{finding.kind} is at {site}, which has no # leak: mark"


def is_at_marked_line(finding: Finding, folder: Path) -> bool:
    """Return whether the target marks the finding's line.

    The server does not show which checkout of a session took its lock, so any of a lock's lines may be marked.
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
    """Return the result of a corpus run in one sentence."""
    wrong = sum(bool(row.problems) for row in graded)
    outcomes = Counter(row.outcome for row in graded)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    result = "all as promised" if not wrong else f"{wrong} not as promised"
    later = sum(bool(row.first_try) and not row.problems for row in graded)
    result += f", {later} of them at the second try" if later else ""
    return f"{len(graded)} runs, {result} ({counts})"


def markdown(graded: list[Graded]) -> str:
    """Return the grades as a Markdown table."""
    lines = ["| target | variant | promised | got | kinds | line | s | |", "|---|---|---|---|---|---|---:|---|"]
    for row in graded:
        grade = "; ".join(row.problems).replace("|", "\\|").splitlines()[0] if row.problems else "right"
        if row.first_try:
            grade += f" (first try: {'; '.join(row.first_try)})".replace("|", "\\|").splitlines()[0]
        cells = (row.target, row.variant, row.expect, row.outcome, ", ".join(row.kinds), row.site)
        lines.append(f"| {' | '.join(cells)} | {row.seconds:.0f} | {grade} |")
    return "\n".join([summary(graded), "", *lines]) + "\n"
