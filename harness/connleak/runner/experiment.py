"""Fixes as an experiment: each arm run in turn, round after round, until the answer is clear or the time is over."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from connleak import comparing as compare
from connleak.corpus.selection import call_git
from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.struct import Struct
from connleak.plan import catalog
from connleak.plan import resolve as plan
from connleak.processes.supervisor import Keeper, wait_until_done
from connleak.recording import folders
from connleak.recording import reader as recording
from connleak.runner import report as results
from connleak.runner.parts import Callbacks, Progress
from connleak.runner.record import record
from connleak.runner.report import Judged

HINT = "connleak compare missing_remove:buggy missing_remove:fixed"
RANK = ("buggy", "wrong", "control", "fixed")
"""The order in which a whole target is compared: the bug first, a fix last."""

WORKING = "the working tree"
CHECKOUT = 600.0
"""Seconds that git may take for a work tree."""
DIFF = 40_000
"""Characters of a difference between revisions that a report shows."""


class Contender(Struct, frozen=True, kw_only=True):
    """What one arm runs: its name, and the options that its plans are made of anew for each run (ports are taken)."""

    name: str
    options: plan.Options


class Step(Struct, frozen=True, kw_only=True):
    """One run of a round, for whoever shows how far it is."""

    round: int
    arm: str
    outcome: str
    seconds: float


Told = Callable[[Step], None]
Watch = Callable[[Plan], contextlib.AbstractContextManager[Callable[[Progress], None]]]


def unwatched(_: Plan) -> contextlib.AbstractContextManager[Callable[[Progress], None]]:
    """Shows nothing of how far a run is."""
    return contextlib.nullcontext(lambda _: None)


def contenders(names: tuple[str, ...], options: plan.Options) -> list[Contender]:
    """Returns the arms of variants: one target's all, or those named; a later name may be a bare variant's."""
    found: list[Contender] = []
    first, _ = catalog.find(names[0])
    if len(names) == 1 and ":" not in names[0]:
        variants = sorted(first.variants, key=lambda name: [name.startswith(rank) for rank in RANK].index(True))
        names = tuple(f"{first.name}:{variant}" for variant in variants)
    for name in names:
        full = f"{first.name}:{name}" if ":" not in name and name in first.variants else name
        target, variant = catalog.find(full)
        short = variant.name if target.name == first.name else f"{target.name}:{variant.name}"
        again = sum(arm.name.split(" again")[0] == short for arm in found)
        arm = short if not again else f"{short} again" + (f" {again}" if again > 1 else "")
        found.append(Contender(name=arm, options=replace(options, target=f"{target.name}:{variant.name}")))
    if len(found) < 2:
        raise Error(f"compare {names[0]}: one thing alone cannot be compared", f"connleak compare {names[0]} ...")
    need_one_world(found)
    return found


@contextlib.contextmanager
def revisions(refs: tuple[str, ...], options: plan.Options) -> Iterator[list[Contender]]:
    """Yields the arms of revisions of the app, each in a work tree of its own; after a single one what is there."""
    again = next((ref for number, ref in enumerate(refs) if ref in refs[:number]), "")
    if again:
        raise Error(f"--git-ref {again} is given twice", "connleak compare --app ... --git-ref main --git-ref my-fix")
    cwd = Path(options.cwd or ".").resolve()
    top = Path(git(cwd, "rev-parse", "--show-toplevel"))
    kept = Path(top, git(top, "rev-parse", "--git-common-dir")) / "worktrees"
    arms = []
    with Keeper() as keeper:
        for number, ref in enumerate(refs):
            tree = keeper.scratch / f"{keeper.scratch.name}-{number}"  # git registers it by this name, nobody else's
            keeper.remove_at_end(kept / tree.name)
            check_out(keeper, top, tree, ref)
            arms.append(Contender(name=ref, options=replace(options, cwd=str(tree / cwd.relative_to(top)))))
        if len(refs) == 1:
            arms.append(Contender(name=WORKING, options=replace(options, cwd=str(cwd))))
        yield arms


def check_out(keeper: Keeper, top: Path, tree: Path, ref: str) -> None:
    """Makes a work tree of a revision; git has children, which would outlive it if we ended it ourselves."""
    git(top, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", said=f"there is no revision {ref}")
    argv = ["git", "-C", str(top), "worktree", "add", "--detach", str(tree), ref]
    log = keeper.scratch / "git.log"
    child = keeper.start(f"git worktree add {ref}", argv, cwd=top, env=os.environ, log=log)
    wait_until_done(keeper, child, CHECKOUT)


def git(folder: Path, *words: str, said: str = "") -> str:
    """Returns what git says in a folder; raises Error with its last line when it refuses, or with `said`."""
    done = call_git(folder, *words)
    if done.returncode:
        said = said or (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise Error(f"git {words[0]} in {folder}: {said}", "git log --oneline")
    return done.stdout.strip()


def differences(arms: list[Contender]) -> dict[str, str]:
    """Returns how each later revision differs from the first one; of variants the catalog tells at any time."""
    first = arms[0]
    found = {}
    for arm in arms[1:] if not first.options.target else ():
        ref = [] if arm.name == WORKING else [arm.name]
        found[arm.name] = git(Path(arm.options.cwd or "."), "diff", first.name, *ref, "--", ".")[:DIFF]
    return found


def run_rounds(
    arms: list[Contender], folder: Path, rounds: int, limit: float, told: Told, watch: Watch
) -> dict[str, list[Judged]]:
    """Runs the arms in turn into `folder`, at least `rounds` times; more until it is clear or `limit` is over.

    Returns the runs of the whole rounds; an interruption ends it after them.
    """
    done: dict[str, list[Judged]] = {arm.name: [] for arm in arms}
    began = time.monotonic()
    number = 0
    try:
        while number < rounds or (not compare.compare(done).clear and lasts(began, number, limit)):
            number += 1
            for index, arm in enumerate(arms, 1):  # fix/a and fix-a are two
                place = folder / f"{number}-{index}-{arm.name.replace('/', '-').replace(':', '-').replace(' ', '-')}"
                start = time.monotonic()
                done[arm.name].append(run_one(arm, arms, place, watch))
                outcome = done[arm.name][-1][1].outcome
                told(Step(round=number, arm=arm.name, outcome=outcome, seconds=time.monotonic() - start))
    except KeyboardInterrupt:
        whole = min(len(runs) for runs in done.values())
        return {name: runs[:whole] for name, runs in done.items()}
    return done


def run_one(arm: Contender, arms: list[Contender], place: Path, watch: Watch) -> Judged:
    """Runs an arm once, and judges it. An interrupted run is no part of the experiment: KeyboardInterrupt."""
    made, private = plan.resolve(arm.options)
    made = equal(made, arms)
    with watch(made) as report:
        record(made, private, place, Callbacks(progress=report))
    return results.judge_whole(place)


def lasts(began: float, rounds: int, limit: float) -> bool:
    """Tells whether there is time for one more round."""
    gone = time.monotonic() - began
    return gone + gone / rounds <= limit


def equal(made: Plan, arms: list[Contender]) -> Plan:
    """Returns a plan under the load of all: the first arm's scenario, the most users, the longest load, one probe."""
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


def need_one_world(arms: list[Contender]) -> None:
    """Raises Error for arms that no load could be the same for: other protocols, databases, or none at all."""
    for name in ("listens", "load", "database"):
        whose: dict[str, list[str]] = {}
        for arm in arms:
            if arm.options.target:
                target, variant = catalog.find(arm.options.target)
                value = target.database if name == "database" else getattr(variant, name)
                whose.setdefault(value or "locust", []).append(arm.name)
        if len(whose) > 1:
            told = "; ".join(f"{value}: {', '.join(names)}" for value, names in whose.items())
            raise Error(f"these cannot be compared, since they differ in {name} ({told})", HINT)


def read_arms(arms: dict[str, list[Path]]) -> dict[str, list[Judged]]:
    """Returns the runs in folders, judged anew."""
    return {name: [results.judge_folder(place) for place in places] for name, places in arms.items()}


def is_recorded(name: str) -> bool:
    """Tells whether a word of the command line is a folder of a run or of a comparison."""
    return any(folders.has(folders.named(name) / file) for file in ("plan.json", "compare.json"))


def named_folders(names: tuple[str, ...]) -> dict[str, list[Path]]:
    """Returns arms of run folders: those of a comparison's folder, or the folders grouped by what they ran."""
    if len(names) == 1:
        place = folders.named(names[0])
        kept = recording.read_json(place / "compare.json", Comparison, HINT)
        return {arm.name: [folders.child(place, Path(run.folder).name) for run in arm.runs] for arm in kept.arms}
    places = {name: folders.named(name) for name in names}
    plans = {name: recording.read_plan(place) for name, place in places.items()}
    whose = {name: f"{made.target}:{made.variant}" for name, made in plans.items()}
    if len(set(whose.values())) < 2:
        return {name: [place] for name, place in places.items()}
    arms: dict[str, list[Path]] = {}
    for name, place in places.items():
        arms.setdefault(whose[name], []).append(place)
    return arms


def need_alike(comparison: Comparison, allowed: bool) -> None:
    """Raises Error when the runs are so unlike that their figures say nothing about each other."""
    forbidden = compare.refusal(list(comparison.unlike))
    if forbidden and not allowed:
        raise Error(f"these runs cannot be compared: {'; '.join(forbidden)}", "connleak compare ... --allow-unlike")
