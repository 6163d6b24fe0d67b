"""Verdicts as SARIF 2.1.0: a result per finding, a notification per skipped check."""

from __future__ import annotations

import hashlib
import posixpath
from typing import Any
from urllib.parse import quote

from connleak.model.outcomes import KINDS, OUTCOMES, docs_anchor
from connleak.model.recording import Recording, Site
from connleak.model.verdict import Check, Finding, Verdict
from connleak.render.sanitize import harmless

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(runs: list[tuple[Recording, Verdict]], root: str) -> dict[str, Any]:
    """Return a SARIF log; files are relative to `root`, an absolute path."""
    findings = [(recording, finding) for recording, verdict in runs for finding in verdict.findings]
    skipped = [check for _, verdict in runs for check in verdict.checks if check.outcome == "skipped"]
    version = runs[0][0].plan.tool_version if runs else ""
    rules = [rule(kind) for kind in sorted({finding.kind for _, finding in findings})]
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "connleak", "version": version, "rules": rules}},
        "results": [result(recording, finding, root) for recording, finding in findings],
    }
    if skipped:
        notifications = [notification(check) for check in dict.fromkeys(skipped)]
        run["invocations"] = [{"executionSuccessful": True, "toolExecutionNotifications": notifications}]
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def rule(kind: str) -> dict[str, Any]:
    """Return the description of a kind of finding."""
    return {
        "id": f"connleak/{kind}",
        "name": kind,
        "shortDescription": {"text": f"{KINDS[kind].outcome}: {KINDS[kind].title}"},
        "help": {"text": f"See {docs_anchor(kind)}."},
    }


def notification(check: Check) -> dict[str, Any]:
    """Return a skipped check as a note on the tool's run: in SARIF, results are only for evaluated rules."""
    return {
        "level": "note",
        "message": {"text": harmless(f"{check.name} skipped: {check.detail}")},
        "associatedRule": {"id": f"connleak/{check.name}"},
    }


def result(recording: Recording, finding: Finding, root: str) -> dict[str, Any]:
    """Return a finding; its first line is the location, its other lines are related locations."""
    locations = [location(recording, site, root) for site in finding.sites]
    identity = f"{finding.kind} {finding.sites[0] if finding.sites else recording.plan.app}"
    return {
        "ruleId": f"connleak/{finding.kind}",
        "level": OUTCOMES[KINDS[finding.kind].outcome].level,
        "message": {"text": harmless(finding.claim)},
        "locations": locations[:1],
        "relatedLocations": [{**other, "id": number} for number, other in enumerate(locations[1:], 1)],
        "partialFingerprints": {"connleak/v1": hashlib.sha256(identity.encode()).hexdigest()[:16]},
    }


def location(recording: Recording, site: Site, root: str) -> dict[str, Any]:
    """Return a line of code as a location."""
    artifact = {"uri": quote(uri_path(recording, site, root))}
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": max(1, site.line)}},
        "logicalLocations": [{"name": harmless(site.function), "kind": "function"}],
    }


def uri_path(recording: Recording, site: Site, root: str) -> str:
    """Return a site's file relative to the repository's root; the bare name of a file outside it."""
    path = posixpath.normpath(posixpath.join(harmless(recording.plan.cwd), harmless(site.file)))
    inside = root.rstrip("/") + "/"
    return path.removeprefix(inside) if path.startswith(inside) else posixpath.basename(path)
