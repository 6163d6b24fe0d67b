"""HTML pages of one file each that work without a network; jinja2 escapes all text from outside."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from connleak.comparing.figures import quantile
from connleak.judging.facts import Facts
from connleak.model.comparison import METRICS, Comparison
from connleak.model.outcomes import KINDS
from connleak.model.recording import Recording, Request
from connleak.model.verdict import Finding, Verdict
from connleak.recording.redaction import redact_passwords
from connleak.render import comparison as comparison_text
from connleak.render.charts.style import DARK, cleaned, theme_config
from connleak.render.charts.vega import converter
from connleak.render.excerpts import Excerpts
from connleak.render.holder_table import COLUMNS
from connleak.render.rerun import rerun_command
from connleak.render.sanitize import CONTROLS

Specs = dict[str, dict[str, Any]]

THEME = {"colours": DARK, "light": theme_config(False), "dark": theme_config(True)}
"""Colours and configuration with which the page's script draws in the reader's theme."""
MOST_HOLDERS = 100
"""Rows of a holder table on a page."""
LONGEST_ERROR = 200
"""Characters of a failure in the table of requests."""


def filled(template: str, **values: Any) -> str:
    """Return a template's page without passwords and control characters; `library` is inserted unchanged."""
    environment = Environment(
        loader=PackageLoader("connleak.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = values.pop("library", "")  # a megabyte that contains no secrets
    place = f"/* {secrets.token_hex(16)} */"
    page = environment.get_template(template).render(library=place, **values)
    return redact_passwords(page.translate(CONTROLS)).replace(place, script)


def report(recording: Recording, verdict: Verdict, charts: Specs, excerpts: Excerpts, script: str) -> str:
    """Return a run's page: verdict, charts, findings with their code, holders, checks, command to run it again."""
    plan = recording.plan
    return filled(
        "report.html",
        plan=plan,
        verdict=verdict,
        machine=recording.machine,
        phases=recording.phases,
        server=Facts(recording).server,
        length=max((phase.end or phase.begin for phase in recording.phases), default=0.0),
        excerpts=excerpts,
        grades=[evidence_grade(finding) for finding in verdict.findings],
        holder_columns=COLUMNS,
        most_holders=MOST_HOLDERS,
        requests=by_name(recording.requests),
        command=rerun_command(plan),
        charts=in_script(cleaned(charts)),
        theme=in_script(THEME),
        library=script,
    )


def evidence_grade(finding: Finding) -> str:
    """Return how strong a finding's evidence is, and where it comes from."""
    if KINDS[finding.kind].from_log:
        return "C: messages of a driver in the app's log."
    if finding.backends and finding.sites:
        return "A: sessions on the server, with the line that the app's probe recorded for them."
    if finding.backends:
        return "B: sessions on the server only; their line in the app is unknown."
    return "B: the app's probe only."


def by_name(requests: tuple[Request, ...]) -> list[dict[str, Any]]:
    """Return a row per request name: how many were sent and failed, p50 and p99 in ms, the most frequent failure."""
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault(f"{request.method} {request.name}", []).append(request)
    rows = []
    for name, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        seconds = sorted(request.seconds for request in group)
        errors = Counter(request.error for request in group if not request.ok)
        rows.append(
            {
                "name": name,
                "count": len(group),
                "failed": errors.total(),
                "p50": 1000 * quantile(seconds, 0.5),
                "p99": 1000 * quantile(seconds, 0.99),
                "error": errors.most_common(1)[0][0][:LONGEST_ERROR] if errors else "",
            }
        )
    return rows


def comparison(
    found: Comparison,
    heading: str,
    charts: Specs,
    diffs: dict[str, str],
    links: dict[str, str],
    argv: str,
    script: str,
) -> str:
    """Return a comparison's page: conclusion, overlay chart, figures, summaries of the arms, diffs, runs."""
    return filled(
        "compare.html",
        found=found,
        heading=heading,
        warnings=comparison_text.warnings(found),
        titles=comparison_text.row_titles(found),
        rows=comparison_text.rows(found),
        caption=comparison_text.caption(found),
        metrics={metric.name: metric.title for metric in METRICS},
        diffs=diffs,
        links=links,
        command=argv,
        charts=in_script(cleaned(charts)),
        theme=in_script(THEME),
        library=script,
    )


def chart(heading: str, spec: dict[str, Any], script: str) -> str:
    """Return a page with one live chart."""
    values = {"charts": in_script(cleaned({"chart": spec})), "theme": in_script(THEME), "library": script}
    return filled("chart.html", heading=heading, **values)


def index(rows: list[dict[str, Any]]) -> str:
    """Return the page of all runs, each with its verdict and a small chart."""
    return filled("index.html", rows=rows, counts=dict(Counter(row["outcome"] for row in rows).most_common()))


def in_script(value: object) -> str:
    """Return a value as JSON that cannot end a script element."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script of 0.9 MB; bundling takes two seconds, so cache it."""
    return str(converter().javascript_bundle())


def library_version() -> str:
    """Return the version on which the script depends."""
    return str(converter().__version__)
