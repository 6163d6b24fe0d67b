"""What machines and issue trackers get of a verdict."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import msgspec
import pytest
from connleak.judging import judge
from connleak.model.outcomes import KINDS, OUTCOMES
from connleak.model.recording import Site
from connleak.model.verdict import Check
from connleak.render import github, issue, junit, sarif
from connleak.render.excerpts import Excerpt
from connleak.render.rerun import rerun_command
from support.builders import SITE, backend, holder, pool, recording

DOCS = Path(__file__).parents[2] / "docs"


def leaking(site: Site = SITE, **changes):
    row = [backend(n, xact=0.9, state="idle in transaction") for n in range(1, 13)]
    made = recording(
        [row[:4], row[:8], row],
        holders=[[holder(n, site=site) for n in range(1, count + 1)] for count in (4, 8, 12)],
        pools=[[pool(size=50, overflow=50, out=12)]] * 3,
        argv=("run", "shop:buggy", "--out", "somewhere"),
        **changes,
    )
    return made, judge(made)


def clean():
    made = recording([[backend(1)]] * 3, pools=[[pool(idle=(1,))]] * 3)
    return made, judge(made)


def test_the_issue_draft_has_the_curve_the_rate_the_line_and_the_one_command() -> None:
    made, verdict = leaking()
    draft = issue.issue(made, verdict, {"app.py:31": Excerpt(30, ("def list_users():", "    ```users```"))})
    assert draft.startswith("### shop:buggy: 12 sessions held at `app.py:31`")
    assert "**LEAK**: 12 connections were not returned" in draft
    assert "Rate: 40.0 (" in draft
    assert ">   31      '''users'''" in draft
    assert "\nconnleak run shop:buggy\n" in draft
    rising = [line.count("█") for line in draft.splitlines() if "|" in line and "█" in line]
    assert rising == sorted(rising) and rising[0] < rising[-1]


def test_what_came_from_outside_is_plain_text_in_the_draft() -> None:
    made, verdict = leaking(site=Site("app.py", 31, "<img src=x>"))
    assert not re.search(r"(?<!\\)<img", issue.issue(made, verdict, {}).replace("`app.py:31 in <img src=x>`", ""))


def test_junit_has_a_case_a_check_and_fails_those_that_found_something() -> None:
    runs = [leaking(), clean()]
    root = ElementTree.fromstring(junit.junit(runs))
    first, second = root.findall("testsuite")
    assert (first.get("name"), first.get("failures"), second.get("failures")) == ("shop:buggy", "1", "0")
    failed = [case.get("name") for case in first.findall("testcase") if case.find("failure") is not None]
    assert failed == ["held"]
    assert len(first.findall("testcase")) == int(first.get("tests") or 0) == len(runs[0][1].checks)


def test_junit_of_an_expected_leak_passes_and_of_an_unexpected_clean_fails() -> None:
    for made, failures in (leaking(expect="leak"), "0"), (leaking(expect="clean"), "1"):
        (suite,) = ElementTree.fromstring(junit.junit([made])).findall("testsuite")
        assert (suite.get("tests"), suite.get("failures")) == ("1", failures)


def test_junit_holds_no_character_that_xml_forbids() -> None:
    made, verdict = leaking()
    checks = tuple(msgspec.structs.replace(check, detail="a\x00b\x1b[0m") for check in verdict.checks)
    text = junit.junit([(made, msgspec.structs.replace(verdict, checks=checks))])
    assert ElementTree.fromstring(text) is not None and "\x00" not in text


SKIPPED = (
    Check("held", "clean", "no checkout is outstanding"),
    Check("shared", "skipped", "needs a probe"),
    Check("churn", "skipped", "needs a probe: <off>"),
)


def skipping():
    """A clean run in which two checks were skipped."""
    made, verdict = clean()
    return made, msgspec.structs.replace(verdict, checks=SKIPPED)


def test_junit_shows_a_skipped_check_as_skipped_with_its_reason_and_counts_it() -> None:
    (suite,) = ElementTree.fromstring(junit.junit([skipping()], strict=True)).findall("testsuite")
    assert [suite.get(name) for name in ("tests", "skipped", "failures", "errors")] == ["3", "2", "0", "0"]
    reasons = {case.get("name"): case.find("skipped").get("message") for case in suite if len(case.findall("skipped"))}
    assert reasons == {"shared": "needs a probe", "churn": "needs a probe: <off>"}
    assert suite.find("testcase[@name='held']/system-out").text == "no checkout is outstanding"


def test_sarif_notes_a_skipped_check_on_the_run_and_makes_no_result_of_it() -> None:
    (run,) = sarif.sarif([skipping(), skipping()], "/repo")["runs"]
    assert run["results"] == []
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True
    notes = {row["associatedRule"]["id"]: row["message"]["text"] for row in invocation["toolExecutionNotifications"]}
    assert notes == {
        "connleak/shared": "shared skipped: needs a probe",
        "connleak/churn": "churn skipped: needs a probe: <off>",
    }
    assert len(invocation["toolExecutionNotifications"]) == 2, "each once, however many runs skipped it"
    assert "invocations" not in sarif.sarif([clean()], "/repo")["runs"][0]


def test_the_draft_lists_a_skipped_check_as_skipped() -> None:
    made, verdict = skipping()
    assert "| shared | skipped | needs a probe |" in issue.issue(made, verdict, {})


def test_every_kind_has_a_sarif_level_a_title_and_an_anchor_in_the_documentation() -> None:
    headings = {line for line in (DOCS / "findings.md").read_text().splitlines() if line.startswith("#")}
    for kind in KINDS:
        description = sarif.rule(kind)
        assert description["shortDescription"]["text"] == f"{KINDS[kind].outcome}: {KINDS[kind].title}"
        assert OUTCOMES[KINDS[kind].outcome].level in ("error", "warning")
        assert f"## {kind}" in headings


def test_sarif_names_the_guilty_line_from_the_repositorys_root() -> None:
    made, verdict = leaking(cwd="/repo/services/shop")
    found = sarif.sarif([(made, verdict), clean()], "/repo")
    (result,) = found["runs"][0]["results"]
    physical = result["locations"][0]["physicalLocation"]
    assert physical == {"artifactLocation": {"uri": "services/shop/app.py"}, "region": {"startLine": 31}}
    assert (result["ruleId"], result["level"]) == ("connleak/held", "error")
    assert [rule["id"] for rule in found["runs"][0]["tool"]["driver"]["rules"]] == ["connleak/held"]
    again = sarif.sarif([(made, verdict)], "/repo")["runs"][0]["results"][0]
    assert again["partialFingerprints"] == result["partialFingerprints"]


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("app.py", "services/app.py"),
        ("../lib/app.py", "lib/app.py"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("javascript:alert(1)", "services/javascript%3Aalert%281%29"),
        ("/srv/javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("a\u202eb\x1b.py", "services/a%3Fb%3F.py"),
        ("/", ""),
    ],
)
def test_a_file_is_named_below_the_repository_or_by_its_name_alone(file: str, uri: str) -> None:
    made, verdict = leaking(site=Site(file, 31, "list"), cwd="/repo/services")
    (result,) = sarif.sarif([(made, verdict)], "/repo")["runs"][0]["results"]
    (place,) = result["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == uri
    (command,) = github.workflow_commands(made, verdict, "/repo")
    assert f"file={github.escaped_property(unquote(uri))},line=31" in command


def test_a_quoted_name_cannot_leave_its_quotes_in_the_draft() -> None:
    made, verdict = leaking(site=Site("`app.py`\n# heading", 31, "f"), app="`\n# heading\n<img src=x>", target="a\n# b")
    draft = issue.issue(made, verdict, {})
    assert not re.search(r"^# ", draft, re.M)
    assert "<img" not in re.sub(r"`[^`\n]*`", "", draft)


def test_github_marks_the_line_and_a_claim_cannot_end_its_command() -> None:
    made, verdict = leaking(site=Site("a,b:c.py", 31, "list"), cwd="/repo")
    finding = msgspec.structs.replace(verdict.findings[0], claim="one\n::error::two 100%")
    (line,) = github.workflow_commands(made, msgspec.structs.replace(verdict, findings=(finding,)), "/repo")
    assert line == "::error file=a%2Cb%3Ac.py,line=31,title=connleak%3A held::one%0A::error::two 100%25"


def test_a_run_of_the_corpus_or_of_an_app_names_the_command_for_it_alone() -> None:
    made, _ = leaking()
    assert rerun_command(made.plan) == "connleak run shop:buggy"
    assert rerun_command(msgspec.structs.replace(made.plan, argv=())) == "connleak run shop:buggy"
    own = msgspec.structs.replace(
        made.plan, argv=(), kind="app", target="app", app="gunicorn app:app", url="http://127.0.0.1:1"
    )
    assert rerun_command(own) == "connleak run --app 'gunicorn app:app' --url http://127.0.0.1:1"
