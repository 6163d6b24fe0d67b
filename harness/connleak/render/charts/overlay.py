"""Several runs side by side: one line an arm on the same axes, or a small chart each."""

from __future__ import annotations

from typing import Any

from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.render import series
from connleak.render.charts.drawing import ARMS, DASHES, altair, legend_choice, time_axis, zoom
from connleak.render.charts.growth import MARK, answer, area, ceiling, shades, unit_of

Runs = dict[str, list[tuple[Recording, Verdict]]]
"""The runs of each arm, by its name, in order."""
COLUMNS = 3
SMALL, LOW = 300, 150


def overlay_chart(runs: Runs, heading: str, words: list[str], *, interactive: bool = False) -> dict[str, Any]:
    """Returns the sessions of every run as a line, an arm a colour and a dash; clocks begin with the first load."""
    alt = altair()
    rows: list[dict[str, Any]] = []
    ends = [1.0]
    names = {arm: f"{arm}: {', '.join(dict.fromkeys(v.outcome for _, v in made))}" for arm, made in runs.items()}
    for arm, made in runs.items():
        for number, (recording, _) in enumerate(made):
            begin, end = series.span(recording)
            ends.append(end - begin)
            for row in series.sessions(recording, 300):
                level = sum(row[state] for state in series.STATES)
                rows.append(
                    {"t": round(row["t"] - begin, 2), "sessions": level, "arm": names[arm], "round": number + 1}
                )
    order = list(names.values())
    most = max((float(row["sessions"]) for row in rows), default=1.0)
    many = max(len(made) for made in runs.values())
    what = unit_of(next(iter(runs.values()))[0][0])
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(
            interpolate="step-after", strokeWidth=2 if many == 1 else 1.6, opacity=1 if many == 1 else 0.75, clip=True
        )
        .encode(
            x=time_axis(alt, 0.0, max(ends)),
            y=alt.Y(
                "sessions:Q",
                title=what,
                axis=alt.Axis(tickMinStep=1),
                scale=alt.Scale(domain=[0, ceiling(most)], nice=False),
            ),
            color=alt.Color("arm:N", sort=order, title=None, scale=alt.Scale(domain=order, range=cycled(ARMS, order))),
            strokeDash=alt.StrokeDash(
                "arm:N", sort=order, title=None, scale=alt.Scale(domain=order, range=cycled(DASHES, order))
            ),
            detail="round:N",
            tooltip=["arm:N", "round:Q", "t:Q", "sessions:Q"],
        )
        .properties(width=700, height=320, title=alt.TitleParams(heading, subtitle=words))
    )
    if interactive:
        chosen = legend_choice(alt, "arm")
        lines = lines.add_params(chosen, zoom(alt)).transform_filter(chosen)
    spec: dict[str, Any] = lines.to_dict(validate=False)
    return spec


def cycled(values: Any, names: list[str]) -> list[Any]:
    return [values[n % len(values)] for n in range(len(names))]


def multiples_chart(runs: Runs, heading: str, *, columns: int = COLUMNS) -> dict[str, Any]:
    """Returns a small growth chart for each arm's first run, all on the same axes, with its answer."""
    alt = altair()
    first = {arm: made[0] for arm, made in runs.items()}
    spans = {arm: series.span(recording) for arm, (recording, _) in first.items()}
    length = max(end - begin for begin, end in spans.values())
    rows = {arm: series.sessions(recording, 240) for arm, (recording, _) in first.items()}
    top = 1.15 * ceiling(max(sum(row[state] for state in series.STATES) for made in rows.values() for row in made))
    used = [s for s in series.STATES if any(row[s] for made in rows.values() for row in made)]
    charts = []
    for number, (arm, (recording, verdict)) in enumerate(first.items()):
        begin = spans[arm][0]
        what = unit_of(recording) if number % columns == 0 else None
        low = number + columns >= len(first)
        layers = [
            *shades(alt, recording, begin, begin + length, last=low),
            area(alt, rows[arm], begin, begin + length, what, last=low, top=top, used=used),
            *answer(alt, verdict, begin + length, size=11),
        ]
        made = alt.layer(*layers).properties(
            width=SMALL, height=LOW, title=alt.TitleParams(f"{arm}: {MARK[verdict.outcome]}", fontSize=12)
        )
        charts.append(made)
    chart = alt.concat(*charts, columns=columns, spacing=18).properties(title=alt.TitleParams(heading))
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return spec
