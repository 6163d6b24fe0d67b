"""A verdict as the Markdown draft of an issue: the session count as a text chart, rate, line and command."""

from __future__ import annotations

import re
from pathlib import PurePath

from connleak.judging.claims import format_rate
from connleak.judging.facts import Facts
from connleak.model.recording import Recording
from connleak.model.verdict import Finding, Verdict
from connleak.recording.redaction import redact_passwords
from connleak.render import series
from connleak.render.excerpts import Excerpts
from connleak.render.rerun import rerun_command
from connleak.render.sanitize import CONTROLS, first_line, harmless

COLUMNS, ROWS = 64, 8
"""Size of the text chart in characters."""
BLOCKS = " ▁▂▃▄▅▆▇█"


def issue(recording: Recording, verdict: Verdict, excerpts: Excerpts) -> str:
    """Return the draft of an issue."""
    plan, machine = recording.plan, recording.machine
    server = Facts(recording).server
    scenario = plain(PurePath(plan.scenario).name) or "none"
    lines = [f"### {headline(recording, verdict)}", "", f"**{verdict.outcome.upper()}**: {plain(verdict.sentence)}", ""]
    lines += ["Sessions on the server over time:", "", "```text", *curve(recording), "```", ""]
    for finding in verdict.findings:
        lines += section(finding, excerpts)
    if verdict.exhaustion:
        lines += [f"At this rate {plain(verdict.exhaustion['text'])}.", ""]
    lines += ["#### To reproduce", "", "```sh", "pip install 'connleak[lab]'", fenced(rerun_command(plan)), "```", ""]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.packages.items()))
    lines += [
        f"- app: {quoted(plan.app)}",
        f"- load: {plan.users} users of {scenario}, {len(recording.requests)} requests",
        f"- database: {plan.database.kind} {server.get('version', '')}, max_connections "
        f"{server.get('max_connections', plan.database.max_connections)}",
        f"- versions: connleak {plan.tool_version}, Python {machine.python}{', ' if versions else ''}{versions}",
        "",
        "<details><summary>Checks</summary>",
        "",
        "| check | result | detail |",
        "|---|---|---|",
        *(f"| {check.name} | {check.outcome} | {plain(check.detail)} |" for check in verdict.checks),
        "",
        f"Sensitivity: {verdict.sensitivity.get('text', 'unknown')}.",
        "</details>",
    ]
    return redact_passwords("\n".join(lines)).translate(CONTROLS) + "\n"


def headline(recording: Recording, verdict: Verdict) -> str:
    """Return the issue's title: the first finding and its line."""
    name = one_line(f"{recording.plan.target}:{recording.plan.variant}")
    if not verdict.findings:
        return f"{name}: {verdict.outcome}"
    finding = verdict.findings[0]
    count = f"{len(finding.backends)} sessions " if finding.backends else ""
    at = f" at {quoted(f'{finding.sites[0].file}:{finding.sites[0].line}')}" if finding.sites else ""
    return f"{name}: {count}{finding.kind}{at}"


def section(finding: Finding, excerpts: Excerpts) -> list[str]:
    """Return a finding's section: its claim, its rate, and the code at its line."""
    lines = [f"#### {finding.kind}", "", plain(finding.claim), ""]
    if finding.rate and not finding.bounded_by:
        lines += [f"Rate: {format_rate(finding.rate)} ({finding.rate.method}).", ""]
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
    """Return the number of sessions over time as a chart of block characters with axes."""
    begin, end = series.span(recording)
    rows = [(row["t"], sum(row[state] for state in series.STATES)) for row in series.sessions(recording, 2000)]
    if not rows:
        return ["no sessions"]
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


def quoted(text: str) -> str:
    """Return text as inline code."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def fenced(text: str) -> str:
    """Return text that cannot end a fenced code block."""
    return text.replace("```", "'''")


def one_line(text: str) -> str:
    return " ".join(harmless(text).splitlines())


def plain(text: str) -> str:
    """Return the first line of a text with the syntax of Markdown and HTML escaped."""
    return re.sub(r"([<>*_`|\[\]])", r"\\\1", first_line(text))
