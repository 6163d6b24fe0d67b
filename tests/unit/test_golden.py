"""The golden verdicts: the verdict on every stored recording, compared with one reviewed file."""

from __future__ import annotations

import re
import tarfile

import golden
import msgspec
import pytest
from connleak.judging import judge
from connleak.model.verdict import Check, Finding, Verdict
from golden.cases import CASES, known_wrong
from support.builders import SITE, holder, leaking, recording

STORED = golden.stored()
RECORDINGS = golden.recordings()
AGAIN = "cd tests && python -m golden --write, and review the difference"


@pytest.mark.parametrize("name", sorted({*STORED, *RECORDINGS}))
def test_a_stored_recording_still_gets_its_reviewed_verdict(name: str) -> None:
    assert name in RECORDINGS, f"its recording is gone: {AGAIN}"
    assert name in STORED, f"its verdict was never reviewed: {AGAIN}"
    now = golden.entry(RECORDINGS[name], known_wrong(name))
    changed = list(golden.differences(STORED[name], now))
    assert not changed, "\n".join([f"{name} is judged otherwise ({AGAIN}):", *changed])


def test_the_golden_file_is_written_as_the_command_writes_it() -> None:
    assert golden.VERDICTS.read_text(encoding="utf-8") == golden.text_of(STORED)


def test_every_recording_that_is_made_can_be_judged_anew_and_most_of_the_gallerys() -> None:
    kept = [name for name, entry in STORED.items() if entry.get("kept")]
    assert all(name.startswith("gallery/") for name in kept)
    assert len(kept) <= 11


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_made_recording_has_the_verdict_that_is_right_or_a_word_on_why_not(name: str) -> None:
    case, entry = CASES[name], STORED[f"golden/{name}"]
    kinds = dict.fromkeys(finding["kind"] for finding in entry.get("findings", ()))
    right = " ".join([entry["outcome"], *kinds]) == case.right
    assert right != bool(case.known_wrong), f"{entry['outcome']} {[*kinds]}, where right is {case.right}"


def test_there_is_a_recording_for_each_case_and_no_other() -> None:
    assert {f"golden/{name}" for name in CASES} == {name for name in RECORDINGS if name.startswith("golden/")}


def test_the_made_recordings_are_small_and_name_no_path_of_the_machine_that_made_them() -> None:
    place = re.compile(rb"/(?:home|root|tmp|work|opt|var|dev/shm)/[\w.]")
    paths = [path for name, path in RECORDINGS.items() if name.startswith("golden/")]
    assert max(path.stat().st_size for path in paths) <= 60_000
    assert sum(path.stat().st_size for path in paths) <= 4_000_000
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                found = place.search(tar.extractfile(member).read())
                assert not found, (path.name, member.name, found)


def test_every_field_of_a_verdict_is_declared_as_prose_or_as_a_figure() -> None:
    known = golden.PROSE | golden.FIGURES
    assert not golden.PROSE & golden.FIGURES
    for path in golden.declared():
        assert path in known or any(name.startswith(f"{path}.") for name in known), f"{path}: prose, or a figure?"


class Later(Finding, frozen=True, omit_defaults=True, kw_only=True):
    """A finding with a field of a later version."""

    blame: str = ""


class LaterVerdict(Verdict, frozen=True, kw_only=True):
    """A verdict with such findings."""

    findings: tuple[Later, ...] = ()


def test_a_new_field_of_a_verdict_fails_until_it_is_declared() -> None:
    assert set(golden.declared(LaterVerdict)) - set(golden.declared()) == {"findings.blame"}
    made = LaterVerdict(outcome="leak", sentence="", findings=(Later(kind="held", claim="", blame="app"),))
    with pytest.raises(golden.Unassigned, match=r"findings\.blame is neither"):
        golden.figures_of(made)
    with pytest.raises(golden.Unassigned, match=r"evidence\.colour"):
        golden.figures_of(Verdict(outcome="clean", sentence="", evidence={"colour": "red"}))


def test_no_declared_field_is_one_that_no_stored_verdict_and_no_type_has() -> None:
    def paths(value: object, path: str = "") -> set[str]:
        if isinstance(value, list):
            return {found for part in value for found in paths(part, path)}
        if isinstance(value, dict):
            return {found for name, part in value.items() for found in paths(part, f"{path}.{name}".lstrip("."))}
        return {path}

    there = {path for entry in STORED.values() for path in paths(entry)} | set(golden.declared())
    free = {f"{path.rpartition('.')[0]}.*" for path in there}
    assert not golden.FIGURES - there - free


def test_words_may_change_and_figures_may_not() -> None:
    verdict = judge(leaking([4, 8, 12]))
    figures = golden.figures_of(verdict)
    found = verdict.findings[0]

    def changed(**parts: object) -> list[str]:
        other = msgspec.structs.replace(verdict, findings=(msgspec.structs.replace(found, **parts),))
        return list(golden.differences(figures, golden.figures_of(other)))

    assert changed(claim="other words") == []
    assert changed(kind="growth") == ['findings[0].kind: "held" -> "growth"']
    assert changed(sites=(msgspec.structs.replace(SITE, line=32),)) == [
        'findings[0].sites[0]: "app.py:31 list_users" -> "app.py:32 list_users"'
    ]
    assert changed(rate=msgspec.structs.replace(found.rate, method="counted", high=99.0)) == [
        f"findings[0].rate.high: {figures['findings'][0]['rate']['high']} -> 99.0"
    ]
    failed = tuple(Check(c.name, "inconclusive" if c.name == "load" else c.outcome, "why") for c in verdict.checks)
    spoiled = msgspec.structs.replace(verdict, checks=failed)
    assert list(golden.differences(figures, golden.figures_of(spoiled))) == ['checks.load: "clean" -> "inconclusive"']
    fewer = msgspec.structs.replace(verdict, findings=())
    assert len(list(golden.differences(figures, golden.figures_of(fewer)))) == 1


def test_floats_are_compared_by_four_digits() -> None:
    near, far = (golden.figures_of(judge(recording([[]] * 3, holders=[[holder(1)]] * 3, requests=count)))
                 for count in (30_000, 30_100))  # fmt: skip
    assert near["sensitivity"]["value"] == 0.033
    assert golden.figure(0.123456, "sensitivity.value") == golden.figure(0.12349, "sensitivity.value") == 0.1235
    assert near["sensitivity"]["requests"] != far["sensitivity"]["requests"]


def test_a_finding_a_check_table_and_a_holder_are_a_line_each() -> None:
    text = golden.text_of({"b": golden.figures_of(judge(leaking([4, 8, 12]))), "a": {"outcome": "clean"}})
    lines = text.splitlines()
    assert lines[1] == ' "a": {'
    assert sum('"kind": "held"' in line for line in lines) == 1
    assert sum('"backend": 7,' in line for line in lines) == 1
    assert sum('"held": "leak", "growth": "clean"' in line for line in lines) == 1
