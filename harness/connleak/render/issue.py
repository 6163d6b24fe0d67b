"""A verdict in Markdown, ready to paste into an issue tracker: the curve as text, the rate, the line, how to see it."""

from __future__ import annotations

import re
from pathlib import Path

from connleak.judging.facts import Facts
from connleak.judging.rates import spoken
from connleak.model.recording import Recording
from connleak.model.verdict import Finding, Verdict
from connleak.recording.redaction import redact_passwords
from connleak.render import series
from connleak.render.excerpts import Excerpts
from connleak.render.page import again
from connleak.render.sanitize import CONTROLS, first_line, harmless

COLUMNS, ROWS = 64, 8
BLOCKS = " ▁▂▃▄▅▆▇█"


def issue(recording: Recording, verdict: Verdict, excerpts: Excerpts) -> str:
    """Returns the draft of an issue."""
    plan, machine = recording.plan, recording.machine
    server = Facts(recording).server
    scenario = plain(Path(plan.scenario).name) or "none"
    lines = [f"### {headline(recording, verdict)}", "", f"**{verdict.outcome.upper()}**: {plain(verdict.sentence)}", ""]
    lines += ["Sessions on the server over time:", "", "```text", *curve(recording), "```", ""]
    for finding in verdict.findings:
        lines += about(finding, excerpts)
    if verdict.exhaustion:
        lines += [f"At this rate {plain(verdict.exhaustion['text'])}.", ""]
    lines += ["#### To see it", "", "```sh", "pip install 'connleak[lab]'", fenced(again(plan)), "```", ""]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.packages.items()))
    lines += [
        f"- app: {quoted(plan.app)}",
        f"- load: {plan.users} users of {scenario}, {len(recording.requests)} requests",
        f"- database: {plan.database.kind} {server.get('version', '')}, max_connections "
        f"{server.get('max_connections', plan.database.max_connections)}",
        f"- versions: connleak {plan.tool_version}, Python {machine.python}{', ' if versions else ''}{versions}",
        "",
        "<details><summary>What was checked</summary>",
        "",
        "| check | ended | why |",
        "|---|---|---|",
        *(f"| {check.name} | {check.outcome} | {plain(check.why)} |" for check in verdict.checks),
        "",
        f"Sensitivity: {verdict.sensitivity.get('text', 'not known')}.",
        "</details>",
    ]
    return redact_passwords("\n".join(lines)).translate(CONTROLS) + "\n"


def headline(recording: Recording, verdict: Verdict) -> str:
    """Returns the issue's title: what is wrong and at which line."""
    name = one_line(f"{recording.plan.target}:{recording.plan.variant}")
    if not verdict.findings:
        return f"{name}: {verdict.outcome}"
    finding = verdict.findings[0]
    count = f"{len(finding.backends)} sessions " if finding.backends else ""
    at = f" at {quoted(f'{finding.sites[0].file}:{finding.sites[0].line}')}" if finding.sites else ""
    return f"{name}: {count}{finding.kind}{at}"


def about(finding: Finding, excerpts: Excerpts) -> list[str]:
    """Returns a finding: its claim, rate, and the code at its line."""
    lines = [f"#### {finding.kind}", "", plain(finding.claim), ""]
    if finding.rate and not finding.bounded_by:
        lines += [f"Rate: {spoken(finding.rate)} ({finding.rate.method}).", ""]
    if finding.sites:
        site = finding.sites[0]
        lines += [quoted(str(site)), ""]
        excerpt = excerpts.get(f"{site.file}:{site.line}")
        if excerpt:
            marked = (
                f"{'>' if excerpt.first + n == site.line else ' '} {excerpt.first + n:4d}  {line}"
                for n, line in enumerate(excerpt.lines)
            )
            lines += ["```text", *map(fenced, marked), "```", ""]
    return lines


def curve(recording: Recording) -> list[str]:
    """Returns the level of sessions over time as a chart of block characters, with its axes."""
    begin, end = series.span(recording)
    rows = [(row["t"], sum(row[state] for state in series.STATES)) for row in series.sessions(recording, 2000)]
    if not rows:
        return ["no sessions were seen"]
    levels, at, now = [], 0, 0.0
    for column in range(COLUMNS):
        until = begin + (end - begin) * (column + 1) / COLUMNS
        most = now
        while at < len(rows) and rows[at][0] <= until:
            now = rows[at][1]
            most = max(most, now)
            at += 1
        levels.append(most)
    top = max(levels) or 1
    drawn = []
    for row in range(ROWS, 0, -1):
        eighths = [round(8 * (level / top * ROWS - (row - 1))) for level in levels]
        label = f"{top:.0f}" if row == ROWS else ""
        drawn.append(f"{label:>5} |" + "".join(BLOCKS[max(0, min(8, n))] for n in eighths).rstrip())
    return [*drawn, f"{'0':>5} +{'-' * COLUMNS}", f"{'':>6} {begin:.0f} s{'':>{COLUMNS - 12}}{end:>5.0f} s"]


def quoted(words: str) -> str:
    """Returns words as code within a line."""
    return f"`{one_line(words).replace('`', chr(39))}`"


def fenced(words: str) -> str:
    """Returns words as they may stand between fences."""
    return words.replace("```", "'''")


def one_line(words: str) -> str:
    return " ".join(harmless(words).splitlines())


def plain(words: str) -> str:
    """Returns words without what Markdown or HTML would take for its own."""
    return re.sub(r"([<>*_`|\[\]])", r"\\\1", first_line(words))
