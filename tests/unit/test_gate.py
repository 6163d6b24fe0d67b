"""Known leaks pass a build until their day is over; everything else does not."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from connleak import judging as judge
from connleak.judging import suppressions as gate
from connleak.judging.suppressions import Known
from connleak.model.errors import Error
from connleak.plan import project_file as project
from support.builders import backend, holder, pool, recording

TODAY = datetime.date(2026, 11, 24)


def leaking():
    rows = [backend(n, xact=0.9, state="idle in transaction") for n in range(1, 13)]
    made = recording(
        [rows[:4], rows[:8], rows],
        holders=[[holder(n) for n in range(1, count + 1)] for count in (4, 8, 12)],
        pools=[[pool(size=50, overflow=50, out=12)]] * 3,
    )
    return judge.judge(made)


def known(**changes: object) -> Known:
    values = {"kind": "held", "file": "app.py", "reason": "SHOP-12", "until": TODAY}
    return Known(**{**values, **changes})


def test_a_known_leak_passes_until_its_last_day() -> None:
    assert leaking().outcome == "leak"
    passed = gate.gate(leaking(), [known(function="list_users")], TODAY)
    assert (passed.verdict.outcome, passed.verdict.findings) == ("clean", ())
    assert "SHOP-12" in passed.verdict.sentence
    late = gate.gate(leaking(), [known()], TODAY + datetime.timedelta(days=1))
    assert (late.verdict.outcome, len(late.expired)) == ("leak", 1)


@pytest.mark.parametrize("other", [{"kind": "growth"}, {"file": "other.py"}, {"function": "elsewhere"}])
def test_another_leak_does_not_pass_and_what_was_not_seen_is_said(other: dict) -> None:
    made = gate.gate(leaking(), [known(**other)], TODAY)
    assert made.verdict.outcome == "leak"
    assert len(made.unseen) == 1
    assert "not seen in this run" in gate.summary(made)[0][1]


def test_what_could_not_be_told_does_not_pass_by_a_known_leak() -> None:
    verdict = judge.judge(recording([[]] * 3, requests=0))
    assert gate.gate(verdict, [known()], TODAY).verdict.outcome == verdict.outcome == "inconclusive"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[known]]\nkind = "held"\nfile = "a.py"\nreason = "x"', "has no until"),
        ('[[known]]\nkind = "hold"\nfile = "a.py"\nreason = "x"\nuntil = 2027-01-01', "hold is no kind"),
        ('[[known]]\nkind = "held"\nfile = "a.py"\nreason = " "\nuntil = 2027-01-01', "takes a reason"),
        ('[[known]]\nkind = "held"\nfile = "a.py"\nreason = "x"\nuntil = "soon"', "and until = a date"),
        ('[[known]]\nkind = "held"\nfile = "a.py"\nreason = "x"\nuntil = 2027-01-01\nline = 3', "not known: line"),
    ],
)
def test_a_known_leak_that_is_not_whole_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "connleak.toml").write_text('app = "x"\n' + text)
    with pytest.raises(Error, match=words):
        project.known(tmp_path)
    assert project.read(tmp_path) is not None, "a run does not mind them"


def test_known_leaks_are_read_from_pyproject_too(tmp_path: Path) -> None:
    rows = '[[tool.connleak.known]]\nkind = "held"\nfile = "a.py"\nreason = "x"\nuntil = 2027-01-01\n'
    (tmp_path / "pyproject.toml").write_text('[tool.connleak]\napp = "x"\n' + rows)
    assert project.known(tmp_path)[0].until == datetime.date(2027, 1, 1)
