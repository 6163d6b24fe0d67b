"""Comparisons of recordings built by hand: their differences and their conclusions."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import msgspec
import pytest
from connleak.comparing import compare
from connleak.comparing.conditions import format_condition
from connleak.comparing.effects import pooled, student
from connleak.judging import judge
from connleak.model.errors import Error
from connleak.model.plan import Database
from connleak.model.recording import Machine, Request
from connleak.plan.options import RunOptions
from connleak.plan.resolve import resolve
from connleak.recording.writer import Writer
from connleak.render import comparison as compared
from connleak.runner import experiment
from connleak.runner.requirements import need_lab
from support.builders import SITE, backend, holder, pool, recording
from support.plans import plan


def leaking(per_cycle: int = 4, seconds: float = 0.02, **changes):
    return judged(
        recording(
            [
                [backend(n, xact=1.0, state="idle in transaction") for n in range(1, k * per_cycle + 1)]
                for k in (1, 2, 3)
            ],
            holders=[[holder(n, site=SITE) for n in range(1, k * per_cycle + 1)] for k in (1, 2, 3)],
            more_requests=slow(seconds),
            **changes,
        )
    )


def clean(seconds: float = 0.02, **changes):
    idle = [backend(1), backend(2)]
    made = recording([idle] * 3, pools=[[pool(idle=(1, 2))]] * 3, more_requests=slow(seconds), **changes)
    return judged(made)


def slow(seconds: float) -> tuple[Request, ...]:
    """More requests, of a length, evenly over the three loads: they set the p50 and p99."""
    return tuple(Request(4.0 * k + 1 + i / 301, seconds, "/") for k in range(3) for i in range(300))


def judged(made):
    return made, judge(made)


def test_a_fix_that_gives_everything_back_is_fixed_and_the_sentence_names_the_bugs_line_and_rate() -> None:
    found = compare({"buggy": [leaking()] * 3, "fixed": [clean()] * 3})
    assert (found.outcome, found.exit_code) == ("fixed", 0)
    assert "buggy does not return 12 sessions" in found.conclusion
    assert "app.py:31" in found.conclusion and "per 1000 requests" in found.conclusion
    assert "fixed returns every connection in all 3 rounds" in found.conclusion
    real = {effect.metric for effect in found.effects if effect.real}
    assert {"left", "open_transactions"} <= real and "throughput" not in real


def test_an_arm_that_still_leaks_is_not_fixed_and_ending_its_transactions_is_said() -> None:
    made = recording(
        [[backend(n) for n in range(1, 4 * k + 1)] for k in (1, 2, 3)],
        holders=[[holder(n, alive=False) for n in range(1, 4 * k + 1)] for k in (1, 2, 3)],
        more_requests=slow(0.02),
    )
    found = compare({"buggy": [leaking()] * 3, "wrong_commit_only": [judged(made)] * 3})
    assert (found.outcome, found.exit_code) == ("not fixed", 1)
    assert "wrong_commit_only ends its transactions, but still does not return 12 sessions" in found.conclusion


def test_a_bigger_pool_only_postpones_exhaustion() -> None:
    rows = [[backend(n, xact=1.0, state="idle in transaction") for n in range(1, k * 4 + 1)] for k in (1, 2, 3)]
    holders = [[holder(n, site=SITE) for n in range(1, k * 4 + 1)] for k in (1, 2, 3)]
    big = judged(recording(rows, holders=holders, pools=[[pool(size=50, overflow=10)]] * 3, more_requests=slow(0.02)))
    found = compare({"buggy": [leaking()] * 3, "wrong_bigger_pool": [big] * 3})
    assert found.outcome == "not fixed"
    assert "wrong_bigger_pool only postpones exhaustion: it still does not return 12 sessions" in found.conclusion
    assert "open up to 60 connections instead of 15" in found.conclusion


@pytest.mark.parametrize("arm", [leaking, clean])
def test_an_arm_against_itself_shows_no_difference(arm) -> None:
    found = compare({"one": [arm()] * 3, "one again": [arm()] * 3})
    assert found.outcome == "no difference"
    assert found.exit_code == (1 if arm is leaking else 0)
    assert not any(effect.real for effect in found.effects)
    assert "No difference between one and one again in 3 rounds" in found.conclusion


def test_a_fix_that_is_much_slower_is_worse() -> None:
    found = compare({"buggy": [leaking(seconds=0.02)] * 4, "fixed": [clean(seconds=0.2)] * 4})
    assert (found.outcome, found.exit_code) == ("worse", 1)
    assert "fixed changes p50 by +9" in found.conclusion


def test_rounds_that_disagree_are_undecided_and_ask_for_more() -> None:
    found = compare({"buggy": [leaking()] * 3, "fixed": [clean(), leaking(), clean()]})
    assert (found.outcome, found.exit_code, found.clear) == ("undecided", 3, False)
    assert "2 of 3 rounds gave clean" in found.conclusion


def test_one_run_each_decides_by_the_verdicts_and_tells_no_cost() -> None:
    found = compare({"buggy": [leaking()], "fixed": [clean()]})
    assert found.outcome == "fixed" and not any(effect.real for effect in found.effects)
    assert all(effect.low is None for effect in found.effects)
    assert "cannot be measured in one round" in found.conclusion


def test_differing_conditions_are_named_and_another_load_or_machine_forbids_the_comparison() -> None:
    other = clean(users=9, database=Database(max_connections=50))
    found = compare({"a": [clean()], "b": [other]})
    assert "users: 4 (a); 9 (b)" in map(format_condition, found.differing_conditions)
    assert {each.name for each in found.differing_conditions if each.forbids} == {"users", "max_connections"}
    made, verdict = clean()
    newer = (msgspec.structs.replace(made, machine=Machine(python="3.13")), verdict)
    warned = compare({"a": [clean()], "b": [newer]})
    (different,) = warned.differing_conditions
    assert (different.name, different.values, different.forbids) == ("Python", {"": ("a",), "3.13": ("b",)}, False)


def test_noise_alone_is_hardly_ever_told_apart() -> None:
    chance = random.Random(7)
    wrong = 0
    for _ in range(2000):
        groups = [[chance.gauss(0, 0.1) for _ in range(3)] for _ in range(2)]
        noise, freedom = pooled(groups, 0.02)
        half = student(0.01, freedom) * noise * (2 / 3) ** 0.5
        wrong += abs(sum(groups[0]) / 3 - sum(groups[1]) / 3) > half
    assert wrong < 2000 * 0.02


def test_without_scipy_comparing_names_it_and_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(Error, match="scipy") as problem:
        compare({"buggy": [leaking()] * 2, "fixed": [clean()] * 2})
    assert (problem.value.hint, problem.value.exit_code) == ("pip install 'connleak[lab]'", 4)
    assert compare({"buggy": [leaking()], "fixed": [clean()]}).outcome == "fixed", "one round each needs no interval"


def test_the_requirements_of_comparing_include_scipy_and_those_of_running_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == "scipy" else find(name))
    need_lab("locust")
    with pytest.raises(Error, match="comparing needs scipy, which is not installed"):
        need_lab("none", comparing=True)


def test_the_table_marks_real_differences_and_the_markdown_escapes_bars() -> None:
    found = compare({"buggy": [leaking()] * 3, "a|b": [clean()] * 3})
    page = compared.markdown(found)
    assert "| a&#124;b | 3 clean |" in page and " 0* " in page
    assert page.startswith("**fixed**: buggy does not return")


def test_arms_are_variants_in_the_order_of_the_story_or_as_named_and_twins_have_names_of_their_own() -> None:
    names = [arm.name for arm in experiment.contenders(("missing_remove",), RunOptions(target="x"))]
    assert names[0] == "buggy" and names[-1].startswith("fixed")
    assert [n for n in names if n.startswith("wrong")] == names[1:3]
    twins = experiment.contenders(("missing_remove:fixed", "fixed", "fixed"), RunOptions())
    assert [arm.name for arm in twins] == ["fixed", "fixed again", "fixed again 2"]
    with pytest.raises(Error, match="takes two variants or more"):
        experiment.contenders(("missing_remove:fixed",), RunOptions())
    with pytest.raises(Error, match="differ in listens"):
        experiment.contenders(("missing_remove:fixed", "tcp_mysql:fixed"), RunOptions())


def test_all_arms_get_one_load() -> None:
    arms = experiment.contenders(("teardown_raises:buggy", "wrong_after_request"), RunOptions())
    plans = [experiment.with_shared_load(resolve(arm.options)[0], arms) for arm in arms]
    assert len({(p.scenario, p.users, p.phases, p.probe, p.database.max_connections) for p in plans}) == 1


def test_folders_of_the_same_variant_are_rounds_of_one_arm(tmp_path: Path) -> None:
    for name, variant in (("a", "buggy"), ("b", "fixed"), ("c", "fixed")):
        with Writer(tmp_path / name, plan(variant=variant), Machine()):
            pass
    folders = tuple(str(tmp_path / name) for name in "abc")
    arms = experiment.named_folders(folders)
    assert {name: [place.name for place in places] for name, places in arms.items()} == {
        "shop:buggy": ["a"],
        "shop:fixed": ["b", "c"],
    }
    assert len(experiment.named_folders(folders[1:])) == 2
    with pytest.raises(Error, match=r"compare\.json"):
        experiment.named_folders(folders[:1])
