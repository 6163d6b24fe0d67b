"""Verdicts as GitHub workflow commands, which annotate lines of code in a pull request."""

from __future__ import annotations

from connleak.model.outcomes import KINDS, OUTCOMES
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.render.sanitize import harmless
from connleak.render.sarif import uri_path


def workflow_commands(recording: Recording, verdict: Verdict, root: str) -> list[str]:
    """Return one annotation per finding, at its first line; files are relative to `root`, an absolute path."""
    lines = []
    for finding in verdict.findings:
        level = OUTCOMES[KINDS[finding.kind].outcome].level
        where = ""
        if finding.sites:
            site = finding.sites[0]
            where = f"file={escaped_property(uri_path(recording, site, root))},line={site.line},"
        lines.append(f"::{level} {where}title=connleak%3A {escaped_property(finding.kind)}::{escaped(finding.claim)}")
    if not verdict.findings and verdict.outcome == "inconclusive":
        lines.append(f"::warning title=connleak%3A inconclusive::{escaped(verdict.sentence)}")
    return lines


def escaped(text: str) -> str:
    """Return text as the message of a workflow command."""
    return harmless(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    """Return text as a property of a workflow command."""
    return escaped(text).replace(":", "%3A").replace(",", "%2C")
