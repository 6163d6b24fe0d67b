"""Further charts of one run: session lifelines, ages of checkouts, and the server's count beside the app's."""

from __future__ import annotations

import csv
import io
from typing import Any

from connleak.model.outcomes import KINDS
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.render import intervals, series
from connleak.render.charts.stacked_sessions import WIDTH, ceiling, shades, title
from connleak.render.charts.style import ARMS, COLOURS, DASHES, HEAT, INK
from connleak.render.charts.vega import altair, legend_choice, time_axis, with_single_views, zoom


def lifelines_chart(recording: Recording, verdict: Verdict, *, interactive: bool = False) -> dict[str, Any]:
    """Return a bar per session from opening to close: a bar that reaches the right edge was never closed."""
    alt = altair()
    begin, end = series.span(recording)
    guilty = {pid for finding in verdict.findings if KINDS[finding.kind].outcome == "leak" for pid in finding.backends}
    rows, omitted = intervals.lifelines(recording, guilty)
    count = 1 + max((row["row"] for row in rows), default=0)
    thick = max(1.2, min(14.0, 420 / count))
    used = [state for state in series.STATES if any(row["state"] == state for row in rows)] or ["idle"]
    chosen = legend_choice(alt, "state") if interactive else None
    y = alt.Y(
        "row:Q",
        title=f"{count} sessions, in order of opening",
        scale=alt.Scale(domain=[count, -max(1.5, 0.05 * count)], nice=False),
    )
    y.axis = alt.Axis(labels=False, ticks=False, grid=False)
    bars = (
        alt.Chart(table(alt, rows))
        .mark_bar(size=thick * 0.8, clip=True)
        .encode(
            x=time_axis(alt, begin, end, field="from:Q"),
            x2="to:Q",
            y=y,
            color=alt.Color("state:N", scale=alt.Scale(domain=used, range=[COLOURS[s] for s in used]), title="state"),
            tooltip=["session:Q", "state:N", "from:Q", "to:Q", alt.Tooltip("line:N", title="checked out at")],
        )
    )
    if chosen is not None:
        bars = bars.add_params(chosen).transform_filter(chosen)
    layers = [*shades(alt, recording, begin, end, last=True), bars, *unreturned(alt, rows, thick)]
    height = round(max(120, count * thick))
    upper = alt.layer(*layers).properties(width=WIDTH, height=height, title=title(alt, recording, verdict))
    if interactive:
        upper = upper.add_params(zoom(alt))
    spec: dict[str, Any] = upper.to_dict(validate=False)
    if omitted:
        spec["title"]["subtitle"] = [*spec["title"]["subtitle"], f"{omitted} shorter sessions are not shown"]
    return with_single_views(spec) if interactive else spec


def unreturned(alt: Any, rows: list[dict[str, Any]], thick: float) -> list[Any]:
    """Return triangles at the ends of the sessions that were not returned."""
    last = {row["row"]: row for row in rows if row["left"]}
    ends = [{"t": row["to"], "row": number, "line": row["line"]} for number, row in last.items()]
    if not ends:
        return []
    mark = alt.Chart(alt.Data(values=ends)).mark_point(
        shape="triangle-left", filled=True, size=max(12, min(60, 5 * thick)), color=INK, opacity=1, xOffset=-7
    )
    tooltip = [alt.Tooltip("line:N", title="not returned, checked out at")]
    return [mark.encode(x="t:Q", y="row:Q", tooltip=tooltip)]


def table(alt: Any, rows: list[dict[str, Any]]) -> Any:
    """Return rows as CSV, a third of their size in JSON."""
    names = list(rows[0]) if rows else ["row"]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *([row[name] for name in names] for row in rows)])
    return alt.InlineData(values=text.getvalue(), format=alt.CsvDataFormat(type="csv"))


def ages_chart(recording: Recording, verdict: Verdict) -> dict[str, Any]:
    """Return a heat map of outstanding checkouts by age over time: a leak climbs to the top and stays there."""
    alt = altair()
    begin, end = series.span(recording)
    rows = intervals.ages(recording)
    top = max((row["step"] for row in rows), default=0)
    names = [intervals.age(step) for step in range(top + 1)]
    unit = (
        "outstanding checkouts" if any(event.kind == "checkout" for event in recording.events) else "open transactions"
    )
    cells = (
        alt.Chart(alt.Data(values=rows))
        .mark_rect(clip=True)
        .encode(
            x=time_axis(alt, begin, end),
            x2="to:Q",
            y=alt.Y("age:N", title=f"age of {unit}", sort=names[::-1], scale=alt.Scale(domain=names[::-1])),
            color=alt.Color("count:Q", title=unit, scale=alt.Scale(scheme=HEAT, domainMin=0)),
            tooltip=["t:Q", "age:N", alt.Tooltip("count:Q", title=unit)],
        )
    )
    layers = [*shades(alt, recording, begin, end, last=True), cells]
    made = alt.layer(*layers).properties(
        width=WIDTH, height=max(60, 26 * len(names)), title=title(alt, recording, verdict)
    )
    spec: dict[str, Any] = made.to_dict(validate=False)
    return spec


def sides_chart(recording: Recording, verdict: Verdict) -> dict[str, Any]:
    """Return the server's count of sessions beside the app's: where they differ, one of them is wrong."""
    alt = altair()
    begin, end = series.span(recording)
    rows = series.sides(recording)
    most = max((row["count"] for row in rows), default=1)
    names = list(dict.fromkeys(row["side"] for row in rows)) or ["sessions on the server"]
    scale = alt.Scale(domain=names, range=list(ARMS[1 : 1 + len(names)]))
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="step-after", strokeWidth=2, clip=True)
        .encode(
            x=time_axis(alt, begin, end),
            y=alt.Y(
                "count:Q",
                title="connections",
                axis=alt.Axis(tickMinStep=1),
                scale=alt.Scale(domain=[0, ceiling(most)], nice=False),
            ),
            color=alt.Color("side:N", scale=scale, sort=names, title=None),
            strokeDash=alt.StrokeDash(
                "side:N", scale=alt.Scale(domain=names, range=list(DASHES[: len(names)])), sort=names, title=None
            ),
            tooltip=["t:Q", "side:N", "count:Q"],
        )
    )
    made = alt.layer(*shades(alt, recording, begin, end, last=True), lines).properties(
        width=WIDTH, height=260, title=title(alt, recording, verdict)
    )
    spec: dict[str, Any] = made.to_dict(validate=False)
    return spec
