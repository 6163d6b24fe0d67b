"""report.html: one file that works without a network; everything that came from outside is escaped."""

from __future__ import annotations

import json
import shlex
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from connleak.model import Recording
from connleak.render.chart import converter
from connleak.render.text import code_at
from connleak.verdict import Verdict


def report(recording: Recording, verdict: Verdict, spec: dict[str, Any], script: str) -> str:
    """Returns the page: verdict, sentence, chart, findings with their code, checks, and the command to run it again."""
    environment = Environment(
        loader=PackageLoader("connleak.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plan = recording.plan
    codes = {str(site): code_at(plan, site) for finding in verdict.findings for site in finding.sites}
    return environment.get_template("report.html").render(
        plan=plan,
        verdict=verdict,
        machine=recording.machine,
        phases=recording.phases,
        codes=codes,
        command=again(plan.argv),
        spec=in_script(spec),
        library=script,
        requests=len(recording.requests),
        failed=sum(not request.ok for request in recording.requests),
    )


def again(argv: tuple[str, ...]) -> str:
    """Returns the command line that made the run."""
    return shlex.join(["connleak", *argv]) if argv else "connleak run ..."


def in_script(value: object) -> str:
    """Returns JSON that is safe between script tags."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def library() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed as one script (0.9 MB); takes two seconds, so whoever calls keeps it."""
    return str(converter().javascript_bundle())


def library_version() -> str:
    """Returns what the script depends on."""
    return str(converter().__version__)
