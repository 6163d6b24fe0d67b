"""A verdict for machines that show it to people: JUnit XML, SARIF, and GitHub's annotations."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from connleak.model.outcomes import KINDS, OUTCOMES
from connleak.model.recording import Recording, Site
from connleak.model.verdict import Check, Finding, Verdict
from connleak.render.sanitize import CONTROLS, first_line, harmless

ABOUT = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def junit(runs: list[tuple[Recording, Verdict]], strict: bool = False) -> str:
    """Returns JUnit XML: a suite a run, a case a check; with an expectation one case, whether it was met."""
    root = ElementTree.Element("testsuites", name="connleak")
    for recording, verdict in runs:
        plan = recording.plan
        name = f"{plan.target}:{plan.variant}".translate(CONTROLS)
        checks = [expectation(plan.expect, verdict)] if plan.expect else list(verdict.checks)
        suite = ElementTree.SubElement(root, "testsuite", name=name, tests=str(len(checks)))
        counts = {"failure": 0, "error": 0}
        for check in checks:
            case = ElementTree.SubElement(suite, "testcase", classname=f"connleak.{name}", name=check.name)
            tag = "error" if check.outcome == "inconclusive" else "failure"
            if check.outcome == "clean" or (check.outcome == "strained" and not strict):
                ElementTree.SubElement(case, "system-out").text = check.why.translate(CONTROLS)
                continue
            counts[tag] += 1
            claims = [finding.claim for finding in verdict.findings if finding.kind == check.name] or [check.why]
            words = "\n".join(claims).translate(CONTROLS)
            ElementTree.SubElement(case, tag, message=first_line(words), type=check.outcome).text = words
        suite.set("failures", str(counts["failure"]))
        suite.set("errors", str(counts["error"]))
        suite.set("time", f"{verdict.evidence.get('seconds', 0):.1f}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def expectation(expect: str, verdict: Verdict) -> Check:
    """Returns the one check of a run that was expected to end in some way."""
    met = verdict.outcome == expect
    why = f"expected {expect}, got {verdict.outcome}: {verdict.sentence}"
    return Check(f"the verdict is {expect}", "clean" if met else "leak", why)


def sarif(runs: list[tuple[Recording, Verdict]], root: Path) -> dict[str, Any]:
    """Returns SARIF 2.1.0: a result a finding, at the guilty line; files are named from `root`."""
    findings = [(recording, finding) for recording, verdict in runs for finding in verdict.findings]
    kinds = sorted({finding.kind for _, finding in findings})
    version = runs[0][0].plan.tool_version if runs else ""
    rules = [
        {"id": f"connleak/{kind}", "name": kind, "shortDescription": {"text": f"{KINDS[kind].outcome}: {kind}"}}
        for kind in kinds
    ]
    return {
        "$schema": ABOUT,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "connleak", "version": version, "rules": rules}},
                "results": [result(recording, finding, root) for recording, finding in findings],
            }
        ],
    }


def result(recording: Recording, finding: Finding, root: Path) -> dict[str, Any]:
    """Returns a finding as SARIF has it; its further lines are related places."""
    places = [place(recording, site, root) for site in finding.sites]
    mark = f"{finding.kind} {finding.sites[0] if finding.sites else recording.plan.app}"
    return {
        "ruleId": f"connleak/{finding.kind}",
        "level": OUTCOMES[KINDS[finding.kind].outcome].level,
        "message": {"text": harmless(finding.claim)},
        "locations": places[:1],
        "relatedLocations": [{**other, "id": number} for number, other in enumerate(places[1:], 1)],
        "partialFingerprints": {"connleak/v1": hashlib.sha256(mark.encode()).hexdigest()[:16]},
    }


def place(recording: Recording, site: Site, root: Path) -> dict[str, Any]:
    where = {"uri": quote(file_of(recording, site, root))}
    region = {"startLine": max(1, site.line)}
    return {
        "physicalLocation": {"artifactLocation": where, "region": region},
        "logicalLocations": [{"name": harmless(site.function), "kind": "function"}],
    }


def file_of(recording: Recording, site: Site, root: Path) -> str:
    """Returns a site's file as seen from the repository's root, with slashes; of a file elsewhere its name alone."""
    path = Path(os.path.normpath(Path(harmless(recording.plan.cwd), harmless(site.file))))
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name


def workflow_commands(recording: Recording, verdict: Verdict, root: Path) -> list[str]:
    """Returns GitHub's workflow commands that mark the guilty lines in a pull request."""
    lines = []
    for finding in verdict.findings:
        level = OUTCOMES[KINDS[finding.kind].outcome].level
        where = ""
        if finding.sites:
            where = f"file={prop(file_of(recording, finding.sites[0], root))},line={finding.sites[0].line},"
        lines.append(f"::{level} {where}title=connleak%3A {prop(finding.kind)}::{data(finding.claim)}")
    if not verdict.findings and verdict.outcome == "inconclusive":
        lines.append(f"::warning title=connleak%3A inconclusive::{data(verdict.sentence)}")
    return lines


def data(words: str) -> str:
    """Returns words as a workflow command's message may hold them."""
    return harmless(words).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def prop(words: str) -> str:
    return data(words).replace(":", "%3A").replace(",", "%2C")
