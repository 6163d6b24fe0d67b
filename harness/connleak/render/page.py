"""The pages: one file each that works without a network; everything that came from outside is escaped."""

from __future__ import annotations

import json
import secrets
import shlex
from collections import Counter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from connleak.comparing.figures import quantile
from connleak.judging.facts import Facts
from connleak.model.comparison import Comparison
from connleak.model.plan import Plan
from connleak.model.recording import Recording, Request
from connleak.model.verdict import Finding, Verdict
from connleak.recording.redaction import without_passwords
from connleak.render import comparison as compared
from connleak.render.charts.drawing import DARK, cleaned, converter, inks
from connleak.render.excerpts import Excerpts
from connleak.render.sanitize import CONTROLS

Specs = dict[str, dict[str, Any]]


def filled(template: str, **facts: Any) -> str:
    """Returns a template's page."""
    environment = Environment(
        loader=PackageLoader("connleak.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = facts.pop("library", "")  # a megabyte, and nobody's secret
    place = f"/* {secrets.token_hex(16)} */"
    page = environment.get_template(template).render(library=place, **facts)
    return without_passwords(page.translate(CONTROLS)).replace(place, script)


def report(recording: Recording, verdict: Verdict, charts: Specs, excerpts: Excerpts, script: str) -> str:
    """Returns a run's page: verdict, charts, findings with their code, holders, checks, how to run it again."""
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
        grades=[grade(finding) for finding in verdict.findings],
        requests=by_name(recording.requests),
        command=again(plan),
        charts=in_script(cleaned(charts)),
        theme=in_script(THEME),
        library=script,
    )


THEME = {"colours": DARK, "light": inks(False), "dark": inks(True)}
"""What the page's script needs to draw in the reader's own theme."""


def grade(finding: Finding) -> str:
    """Returns how strong a finding's evidence is, and whose word it is."""
    if finding.kind == "refused":
        return "C: a driver's words in the app's log."
    if finding.backends and finding.sites:
        return "A: the server's sessions, and the line that the app's own probe names for them."
    if finding.backends:
        return "B: the server's side alone; no line of the app is known for it."
    return "B: the app's side alone, by its probe."


def by_name(requests: tuple[Request, ...]) -> list[dict[str, Any]]:
    """Returns a row a name of request: how many were sent and failed, p50 and p99 in ms, the most frequent failure."""
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
                "error": errors.most_common(1)[0][0][:200] if errors else "",
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
    """Returns a comparison's page: conclusion, overlay, figures, what each arm does, the diffs, the runs."""
    return filled(
        "compare.html",
        found=found,
        heading=heading,
        heads=compared.heads(found),
        rows=compared.rows(found),
        caption=compared.caption(found),
        diffs=diffs,
        links=links,
        command=argv,
        charts=in_script(cleaned(charts)),
        theme=in_script(THEME),
        library=script,
    )


def chart(heading: str, spec: dict[str, Any], script: str) -> str:
    """Returns a page of one live chart."""
    facts = {"charts": in_script(cleaned({"chart": spec})), "theme": in_script(THEME), "library": script}
    return filled("chart.html", heading=heading, **facts)


def index(rows: list[dict[str, Any]]) -> str:
    """Returns the page of all runs, each with its verdict and a small chart."""
    return filled("index.html", rows=rows, counts=dict(Counter(row["outcome"] for row in rows).most_common()))


def again(plan: Plan) -> str:
    """Returns the command line that makes such a run again: its own, or of a run within a comparison or the corpus."""
    argv = [word for n, word in enumerate(plan.argv) if word != "--out" and plan.argv[n - 1 if n else 0] != "--out"]
    argv = [word for word in argv if not word.startswith("--out=")]
    if argv[:1] not in (["run"], ["compare"]):
        own = plan.kind in ("app", "remote")
        argv = ["run", "--app", plan.app] if own else ["run", f"{plan.target}:{plan.variant}"]
        argv += ["--url", plan.url] if own and plan.url else []
    return shlex.join(["connleak", *argv])


def in_script(value: object) -> str:
    """Returns JSON that is safe between script tags."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def library() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed as one script (0.9 MB); takes two seconds, so whoever calls keeps it."""
    return str(converter().javascript_bundle())


def library_version() -> str:
    """Returns what the script depends on."""
    return str(converter().__version__)
