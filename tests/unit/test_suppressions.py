"""Suppressed findings pass a build until they expire; everything else does not."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from connleak.judging import judge, suppressions
from connleak.judging.suppressions import Suppression
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
    return judge(made)


def suppression(**changes: object) -> Suppression:
    values = {"kind": "held", "file": "app.py", "reason": "SHOP-12", "expires": TODAY}
    return Suppression(**{**values, **changes})


def test_a_suppressed_finding_passes_until_its_last_day() -> None:
    assert leaking().outcome == "leak"
    passed = suppressions.gate(leaking(), [suppression(function="list_users")], TODAY)
    assert (passed.verdict.outcome, passed.verdict.findings) == ("clean", ())
    assert "SHOP-12" in passed.verdict.sentence
    late = suppressions.gate(leaking(), [suppression()], TODAY + datetime.timedelta(days=1))
    assert (late.verdict.outcome, len(late.expired)) == ("leak", 1)


@pytest.mark.parametrize("other", [{"kind": "growth"}, {"file": "other.py"}, {"function": "elsewhere"}])
def test_another_finding_does_not_pass_and_an_unused_suppression_is_reported(other: dict) -> None:
    made = suppressions.gate(leaking(), [suppression(**other)], TODAY)
    assert made.verdict.outcome == "leak"
    assert len(made.unseen) == 1
    assert "not seen in this run" in suppressions.summary(made)[0][1]


def test_an_inconclusive_check_does_not_pass_by_a_suppression() -> None:
    verdict = judge(recording([[]] * 3, requests=0))
    assert suppressions.gate(verdict, [suppression()], TODAY).verdict.outcome == verdict.outcome == "inconclusive"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[suppressions]]\nkind = "held"\nfile = "a.py"\nreason = "x"', "missing required field `expires`"),
        ('[[suppressions]]\nkind = "hold"\nfile = "a.py"\nreason = "x"\nexpires = 2027-01-01', "unknown kind hold"),
        ('[[suppressions]]\nkind = "held"\nfile = "a.py"\nreason = " "\nexpires = 2027-01-01', "the reason is empty"),
        (
            '[[suppressions]]\nkind = "held"\nfile = "a.py"\nreason = "x"\nexpires = "soon"',
            "Invalid RFC3339 encoded date - at `.*expires`",
        ),
        (
            '[[suppressions]]\nkind = "held"\nfile = "a.py"\nreason = "x"\nexpires = 2027-01-01\nline = 3',
            "unknown field `line`",
        ),
    ],
)
def test_an_incomplete_suppression_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "connleak.toml").write_text('app = "x"\n' + text)
    with pytest.raises(Error, match=message):
        project.suppressions(tmp_path)
    assert project.read(tmp_path) is not None, "a run ignores them"


def test_suppressions_are_read_from_pyproject_too(tmp_path: Path) -> None:
    rows = '[[tool.connleak.suppressions]]\nkind = "held"\nfile = "a.py"\nreason = "x"\nexpires = 2027-01-01\n'
    (tmp_path / "pyproject.toml").write_text('[tool.connleak]\napp = "x"\n' + rows)
    assert project.suppressions(tmp_path)[0].expires == datetime.date(2027, 1, 1)
