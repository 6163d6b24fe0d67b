"""Compare fixes by an experiment: run each arm in turn, for several rounds, until the answer is clear or time is up."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from connleak.comparing import compare
from connleak.comparing.conditions import format_condition
from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.struct import Struct
from connleak.plan import catalog
from connleak.plan.options import RunOptions
from connleak.plan.resolve import resolve
from connleak.processes.supervisor import Supervisor
from connleak.recording import folders, reader
from connleak.runner.parts import Callbacks, Progress
from connleak.runner.record import record
from connleak.runner.report import Judged, judge_folder, judge_whole
from connleak.runner.revisions import check_out, git

HINT = "connleak compare missing_remove:buggy missing_remove:fixed"
RANK = ("buggy", "wrong", "control", "fixed")
"""The order in which a whole target is compared: the bug first, a fix last."""

WORKING = "the working tree"
DIFF = 40_000
"""Characters of a difference between revisions that a report shows."""


class Contender(Struct, frozen=True, kw_only=True):
    """One arm: its name, and the options from which each of its runs is planned (with ports of its own)."""

    name: str
    options: RunOptions


class Step(Struct, frozen=True, kw_only=True):
    """One run of a round, to be displayed."""

    round: int
    arm: str
    outcome: str
    seconds: float


ReportStep = Callable[[Step], None]
Watch = Callable[[Plan], contextlib.AbstractContextManager[Callable[[Progress], None]]]


def unwatched(_: Plan) -> contextlib.AbstractContextManager[Callable[[Progress], None]]:
    """Display no progress."""
    return contextlib.nullcontext(lambda _: None)


def contenders(names: tuple[str, ...], options: RunOptions) -> list[Contender]:
    """Return the arms of the named variants, or of a target's; later names may be those of variants alone."""
    found: list[Contender] = []
    seen = Counter[str]()
    first, _ = catalog.find(names[0])
    if len(names) == 1 and ":" not in names[0]:
        variants = sorted(first.variants, key=lambda name: [name.startswith(rank) for rank in RANK].index(True))
        names = tuple(f"{first.name}:{variant}" for variant in variants)
    for name in names:
        full = f"{first.name}:{name}" if ":" not in name and name in first.variants else name
        target, variant = catalog.find(full)
        short = variant.name if target.name == first.name else f"{target.name}:{variant.name}"
        repeats = seen[short]
        seen[short] += 1
        arm = short if not repeats else f"{short} again" + (f" {repeats}" if repeats > 1 else "")
        found.append(Contender(name=arm, options=replace(options, target=f"{target.name}:{variant.name}")))
    if len(found) < 2:
        raise Error(f"compare {names[0]}: a comparison takes two variants or more", f"connleak compare {names[0]} ...")
    need_one_load(found)
    return found


@contextlib.contextmanager
def revisions(refs: tuple[str, ...], options: RunOptions) -> Iterator[list[Contender]]:
    """Yield the arms of revisions, each in a work tree; a single revision is compared with the working tree."""
    twice = next((ref for number, ref in enumerate(refs) if ref in refs[:number]), "")
    if twice:
        raise Error(f"--git-ref {twice} is given twice", "connleak compare --app ... --git-ref main --git-ref my-fix")
    cwd = Path(options.cwd or ".").resolve()
    top = Path(git(cwd, "rev-parse", "--show-toplevel"))
    kept = Path(top, git(top, "rev-parse", "--git-common-dir")) / "worktrees"
    arms = []
    with Supervisor() as supervisor:
        for number, ref in enumerate(refs):
            # git registers the tree under its folder's name, so that must be unique
            tree = supervisor.scratch / f"{supervisor.scratch.name}-{number}"
            supervisor.remove_at_end(kept / tree.name)
            check_out(supervisor, top, tree, ref)
            arms.append(Contender(name=ref, options=replace(options, cwd=str(tree / cwd.relative_to(top)))))
        if len(refs) == 1:
            arms.append(Contender(name=WORKING, options=replace(options, cwd=str(cwd))))
        yield arms


def differences(arms: list[Contender]) -> dict[str, str]:
    """Return {revision: its difference from the first}; nothing for variants, whose differences the catalog has."""
    first = arms[0]
    found = {}
    for arm in arms[1:] if not first.options.target else ():
        ref = [] if arm.name == WORKING else [arm.name]
        found[arm.name] = git(Path(arm.options.cwd or "."), "diff", first.name, *ref, "--", ".")[:DIFF]
    return found


def run_rounds(
    arms: list[Contender], folder: Path, rounds: int, limit: float, report: ReportStep, watch: Watch
) -> dict[str, list[Judged]]:
    """Run the arms in turn into `folder`, `rounds` times and more until the answer is clear or `limit` is over.

    Return the runs of the complete rounds; an interruption drops those of an incomplete one.
    """
    done: dict[str, list[Judged]] = {arm.name: [] for arm in arms}
    began = time.monotonic()
    number = 0
    try:
        while number < rounds or (not compare(done).clear and has_time(began, number, limit)):
            number += 1
            for index, arm in enumerate(arms, 1):  # the index distinguishes fix/a and fix-a
                place = folder / f"{number}-{index}-{arm.name.replace('/', '-').replace(':', '-').replace(' ', '-')}"
                start = time.monotonic()
                done[arm.name].append(run_one(arm, arms, place, watch))
                outcome = done[arm.name][-1][1].outcome
                report(Step(round=number, arm=arm.name, outcome=outcome, seconds=time.monotonic() - start))
    except KeyboardInterrupt:
        whole = min(len(runs) for runs in done.values())
        return {name: runs[:whole] for name, runs in done.items()}
    return done


def run_one(arm: Contender, arms: list[Contender], place: Path, watch: Watch) -> Judged:
    """Run an arm once and judge it; raise KeyboardInterrupt if the run was interrupted."""
    made, secrets = resolve(arm.options)
    made = with_shared_load(made, arms)
    with watch(made) as report:
        record(made, secrets, place, Callbacks(progress=report))
    return judge_whole(place)


def has_time(began: float, rounds: int, limit: float) -> bool:
    """Return whether there is time for one more round."""
    elapsed = time.monotonic() - began
    return elapsed + elapsed / rounds <= limit


def with_shared_load(made: Plan, arms: list[Contender]) -> Plan:
    """Return a plan with the load that all arms share: one scenario, the most users, the longest load, one probe."""
    variants = [catalog.find(arm.options.target)[1] for arm in arms if arm.options.target]
    if not variants:
        return made
    options = arms[0].options
    probes = [options.probe] if options.probe else [variant.probe for variant in variants]
    limit = options.max_connections or max(variant.max_connections for variant in variants)
    return replace(
        made,
        scenario=made.scenario if options.locustfile else str(catalog.scenario(variants[0].scenario)),
        users=options.users or max(variant.users for variant in variants),
        probe=next(probe for probe in ("queries", "pool", "off") if probe in probes),
        phases=replace(made.phases, load=options.load or max(variant.load_seconds for variant in variants)),
        database=replace(made.database, max_connections=limit),
    )


def need_one_load(arms: list[Contender]) -> None:
    """Raise Error if the arms cannot share one load, since their protocols, loads or databases differ."""
    for name in ("listens", "load", "database"):
        whose: dict[str, list[str]] = {}
        for arm in arms:
            if arm.options.target:
                target, variant = catalog.find(arm.options.target)
                value = target.database if name == "database" else getattr(variant, name)
                whose.setdefault(value or "locust", []).append(arm.name)
        if len(whose) > 1:
            differences = "; ".join(f"{value}: {', '.join(names)}" for value, names in whose.items())
            raise Error(f"these cannot be compared, since they differ in {name} ({differences})", HINT)


def read_arms(arms: dict[str, list[Path]]) -> dict[str, list[Judged]]:
    """Return the runs in folders, judged again."""
    return {name: [judge_folder(place) for place in places] for name, places in arms.items()}


def is_recorded(name: str) -> bool:
    """Return whether an argument is the folder of a run or of a comparison."""
    return any(folders.is_file(folders.follow_link(name) / file) for file in ("plan.json", "compare.json"))


def named_folders(names: tuple[str, ...]) -> dict[str, list[Path]]:
    """Return the arms of run folders: those of a comparison, or the folders grouped by target and variant."""
    if len(names) == 1:
        place = folders.follow_link(names[0])
        kept = reader.read_json(place / "compare.json", Comparison, HINT)
        return {arm.name: [folders.child(place, Path(run.folder).name) for run in arm.runs] for arm in kept.arms}
    places = {name: folders.follow_link(name) for name in names}
    plans = {name: reader.read_plan(place) for name, place in places.items()}
    whose = {name: f"{made.target}:{made.variant}" for name, made in plans.items()}
    if len(set(whose.values())) < 2:
        return {name: [place] for name, place in places.items()}
    arms: dict[str, list[Path]] = {}
    for name, place in places.items():
        arms.setdefault(whose[name], []).append(place)
    return arms


def need_alike(comparison: Comparison, allowed: bool) -> None:
    """Raise Error if the runs differ so much that their figures cannot be compared."""
    forbidden = [format_condition(condition) for condition in comparison.differing_conditions if condition.forbids]
    if forbidden and not allowed:
        raise Error(f"these runs cannot be compared: {'; '.join(forbidden)}", "connleak compare ... --allow-unlike")
