"""Verdicts as JUnit XML: a test suite per run, a test case per check."""

from __future__ import annotations

from xml.etree import ElementTree

from connleak.model.outcomes import Outcome
from connleak.model.recording import Recording
from connleak.model.verdict import Check, CheckOutcome, Verdict
from connleak.render.sanitize import CONTROLS, first_line

TAGS: dict[CheckOutcome, str] = {
    "leak": "failure",
    "fault": "failure",
    "strained": "system-out",
    "inconclusive": "error",
    "clean": "system-out",
    "skipped": "skipped",
}
"""The element that holds a check's result, by its outcome."""
TOTALS = {"failures": "failure", "errors": "error", "skipped": "skipped"}
"""A suite's attributes that count its cases, with the element that each counts."""


def junit(runs: list[tuple[Recording, Verdict]], strict: bool = False) -> str:
    """Return JUnit XML; a run with an expectation has one test case, whether the expectation is met."""
    root = ElementTree.Element("testsuites", name="connleak")
    for recording, verdict in runs:
        plan = recording.plan
        name = f"{plan.target}:{plan.variant}".translate(CONTROLS)
        checks = [expectation(plan.expect, verdict)] if plan.expect else list(verdict.checks)
        suite = ElementTree.SubElement(root, "testsuite", name=name, tests=str(len(checks)))
        tags = [add_case(suite, check, verdict, strict) for check in checks]
        for attribute, tag in TOTALS.items():
            suite.set(attribute, str(tags.count(tag)))
        suite.set("time", f"{verdict.evidence.get('seconds', 0):.1f}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def add_case(suite: ElementTree.Element, check: Check, verdict: Verdict, strict: bool) -> str:
    """Add a check to a suite as a test case; return the tag of its result."""
    case = ElementTree.SubElement(suite, "testcase", classname=f"connleak.{suite.get('name')}", name=check.name)
    tag = "failure" if strict and check.outcome == "strained" else TAGS[check.outcome]
    detail = check.detail.translate(CONTROLS)
    if tag == "system-out":
        ElementTree.SubElement(case, tag).text = detail
    elif tag == "skipped":
        ElementTree.SubElement(case, tag, message=first_line(detail))
    else:
        claims = [finding.claim for finding in verdict.findings if finding.kind == check.name] or [check.detail]
        text = "\n".join(claims).translate(CONTROLS)
        ElementTree.SubElement(case, tag, message=first_line(text), type=check.outcome).text = text
    return tag


def expectation(expect: Outcome | str, verdict: Verdict) -> Check:
    """Return the single check of a run with an expected outcome."""
    met = verdict.outcome == expect
    detail = f"expected {expect}, got {verdict.outcome}: {verdict.sentence}"
    return Check(f"the verdict is {expect}", "clean" if met else "leak", detail)
