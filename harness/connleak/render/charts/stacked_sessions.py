"""The growth chart: sessions stacked by state over time, loads shaded, limits as lines, the request rate beneath.

One Vega-Lite description, made with Altair, gives the SVG, the PNG and the interactive page.
"""

from __future__ import annotations

import textwrap
from typing import Any

from connleak.judging.claims import format_number
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.render import series
from connleak.render.charts.style import ALARM, COLOURS, DIM, FAINT, INK, SHADE
from connleak.render.charts.vega import altair, legend_choice, time_axis, with_single_views, zoom
from connleak.render.sanitize import first_line, harmless

WIDTH, HEIGHT, RATE_HEIGHT = 760, 300, 70


def growth_chart(recording: Recording, verdict: Verdict, *, interactive: bool = False) -> dict[str, Any]:
    """Return the Vega-Lite description of the growth chart."""
    alt = altair()
    begin, end = series.span(recording)
    rows = series.sessions(recording)
    rate = series.request_rate(recording)
    unit = session_unit(recording)
    chosen = legend_choice(alt, "state") if interactive else None
    layers = [
        *shades(alt, recording, begin, end, last=not rate),
        area(alt, rows, begin, end, unit, last=not rate, chosen=chosen),
    ]
    layers += [*limits(alt, rows, verdict, begin), *server_behind(alt, recording), *answer(alt, verdict, end)]
    upper = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    if interactive:
        upper = upper.add_params(zoom(alt))
    parts = [upper, rates(alt, rate, begin, end)] if rate else [upper]
    chart = (
        alt.vconcat(*parts, spacing=10)
        .resolve_scale(color="independent", x="shared" if interactive else "independent")
        .properties(title=title(alt, recording, verdict))
    )
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return with_single_views(spec) if interactive else spec


UNITS = {"sqlite": "open handles of the file", "pgbouncer": "clients of the pooler"}
"""Axis titles for the kinds of database whose sessions are not server sessions."""


def session_unit(recording: Recording) -> str:
    """Return the axis title of the session count."""
    return UNITS.get(recording.plan.database.kind, "sessions on the server")


def title(alt: Any, recording: Recording, verdict: Verdict) -> Any:
    """Return the chart's title, target and outcome, with the verdict's sentence beneath."""
    plan = recording.plan
    lines = textwrap.wrap(first_line(harmless(verdict.sentence)), 118)[:3]
    return alt.TitleParams(
        f"{plan.target}:{plan.variant}: {verdict.outcome.upper()}",
        subtitle=lines,
        offset=10,
    )


def server_behind(alt: Any, recording: Recording) -> list[Any]:
    """Return the sessions of the server behind a pooler as a labelled line."""
    rows = series.behind(recording)
    if not rows:
        return []
    line = alt.Chart(alt.Data(values=rows)).mark_line(interpolate="step-after", color=INK, strokeWidth=2)
    name = {**rows[-1], "label": f"PostgreSQL behind the pooler: {rows[-1]['sessions']:.0f}"}
    text = alt.Chart(alt.Data(values=[name])).mark_text(align="right", baseline="bottom", dx=-6, dy=-4, fontSize=11)
    return [layer.encode(x="t:Q", y="sessions:Q") for layer in (line, text.encode(text="label:N"))]


def area(
    alt: Any,
    rows: list[dict[str, float]],
    begin: float,
    end: float,
    unit: str | None,
    *,
    last: bool,
    top: float = 0.0,
    used: list[str] | None = None,
    chosen: Any = None,
) -> Any:
    """Return the sessions stacked by state, in steps from sample to sample, with space for the answer above.

    `top` and `used` are the axis's end and its states where charts share them; `chosen` is a live chart's selection.
    """
    used = used or [state for state in series.STATES if any(row[state] for row in rows)] or ["idle"]
    most = max((sum(row[state] for state in series.STATES) for row in rows), default=1) or 1
    layer = (
        alt.Chart(alt.Data(values=rows))
        .transform_fold(used, as_=["state", "sessions"])
        .transform_calculate(order=f"indexof({list(series.STATES)!r}, datum.state)")
        .mark_area(interpolate="step-after", opacity=0.85, clip=True)
        .encode(
            x=time_axis(alt, begin, end, last=last),
            y=alt.Y(
                "sessions:Q",
                stack="zero",
                title=unit,
                axis=alt.Axis(tickMinStep=1),
                scale=alt.Scale(domain=[0, top or ceiling(most)], nice=False),
            ),
            color=alt.Color(
                "state:N",
                title="state",
                sort=list(series.STATES),
                scale=alt.Scale(domain=used, range=[COLOURS[state] for state in used]),
            ),
            order=alt.Order("order:Q"),
            tooltip=[alt.Tooltip("t:Q", title="seconds"), "state:N", "sessions:Q"],
        )
    )
    return layer.add_params(chosen).transform_filter(chosen) if chosen is not None else layer


def ceiling(most: float) -> float:
    """Return the top of the session axis: space for the answer, and at least 10, so that two sessions look few."""
    return max(10.0, 1.22 * most)


def shades(alt: Any, recording: Recording, begin: float, end: float, *, last: bool = False) -> list[Any]:
    """Return each load as a shaded, labelled interval."""
    rows = series.loads(recording)
    if not rows:
        return []
    data = alt.Data(values=rows)
    x = time_axis(alt, begin, end, last=last, field="begin:Q")
    shade = alt.Chart(data).mark_rect(color=SHADE, opacity=0.13, clip=True).encode(x=x, x2="end:Q")
    label = alt.Chart(data).mark_text(align="left", baseline="top", dx=3, dy=3, fontSize=10, color=FAINT)
    return [shade, label.encode(x=x, y=alt.value(0), text="label:N")]


def limits(alt: Any, rows: list[dict[str, float]], verdict: Verdict, begin: float) -> list[Any]:
    """Return lines at the pools' idle limit and at max_connections, where these are on the axis."""
    top = ceiling(max((sum(row[state] for state in series.STATES) for row in rows), default=1))
    max_idle, most = verdict.evidence.get("budget"), verdict.evidence.get("max_connections")
    lines = [(max_idle, f"idle limit of the pools: {max_idle}"), (most, f"max_connections: {most}")]
    found = [{"y": level, "label": label, "t": begin} for level, label in lines if level and level <= top]
    if not found:
        return []
    data = alt.Data(values=found)
    line = alt.Chart(data).mark_rule(strokeDash=[5, 4], color=DIM).encode(y="y:Q")
    text = alt.Chart(data).mark_text(align="left", baseline="bottom", dx=4, dy=-2, fontSize=11, color=DIM)
    return [line, text.encode(x="t:Q", y="y:Q", text="label:N")]


def answer(alt: Any, verdict: Verdict, end: float, size: int = 14) -> list[Any]:
    """Return the answer as text on the chart: the rate or its bound, and the line of code."""
    if not verdict.findings:
        return []
    finding = verdict.findings[0]
    parts = [finding.kind]
    if finding.rate and not finding.bounded_by:
        parts = [f"+{format_number(finding.rate.value)} per {finding.rate.per}"]
    elif finding.bounded_by:
        parts = [f"{finding.kind}: {len(finding.backends)}" if finding.backends else finding.kind]
        parts.append(f"bounded by {finding.bounded_by}")
    if finding.sites:
        parts.append(f"{finding.sites[0].file}:{finding.sites[0].line}")
    row = {"t": round(end, 1), "text": ", ".join(parts)}
    mark = alt.Chart(alt.Data(values=[row])).mark_text(
        align="right", baseline="top", dx=-6, dy=18, fontSize=size, fontWeight="bold", color=ALARM
    )
    return [mark.encode(x="t:Q", y=alt.value(0), text="text:N")]


def rates(alt: Any, rows: list[dict[str, Any]], begin: float, end: float) -> Any:
    """Return the request rate, answered and failed, as a chart."""
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_rect(clip=True)
        .encode(
            x=time_axis(alt, begin, end, last=True),
            x2="to:Q",
            y=alt.Y("rate:Q", title=["requests", "per second"], axis=alt.Axis(tickCount=3)),
            y2="zero:Q",
            color=alt.Color(
                "outcome:N",
                title="requests",
                scale=alt.Scale(domain=["answered", "failed"], range=["#7A8FA6", "#CC3311"]),
            ),
            tooltip=[alt.Tooltip("t:Q", title="seconds"), "outcome:N", alt.Tooltip("rate:Q", format=".0f")],
        )
        .properties(width=WIDTH, height=RATE_HEIGHT)
    )
