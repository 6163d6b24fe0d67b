"""Several runs together: one line per run on the same axes, or a small chart per arm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.render import series
from connleak.render.charts.stacked_sessions import answer, area, ceiling, session_unit, shades
from connleak.render.charts.style import ARMS, DASHES
from connleak.render.charts.vega import altair, legend_choice, time_axis, zoom

Runs = dict[str, list[tuple[Recording, Verdict]]]
"""The runs of each arm by its name, in order."""
OVERLAY_POINTS, MULTIPLES_POINTS = 300, 240
"""Maximum rows of a run."""
COLUMNS = 3
SMALL, LOW = 300, 150
"""Width and height of a small chart."""


def overlay_chart(runs: Runs, heading: str, subtitle: list[str], *, interactive: bool = False) -> dict[str, Any]:
    """Return the sessions of every run as a line, each arm in its own colour and dash; time starts at the baseline."""
    alt = altair()
    names = {arm: f"{arm}: {', '.join(dict.fromkeys(v.outcome for _, v in made))}" for arm, made in runs.items()}
    rows = [row for arm, made in runs.items() for row in levels(made, names[arm])]
    spans = [series.span(recording) for made in runs.values() for recording, _ in made]
    longest = max([1.0, *(end - begin for begin, end in spans)])
    order = list(names.values())
    most = max((float(row["sessions"]) for row in rows), default=1.0)
    many = max(len(made) for made in runs.values())
    unit = session_unit(next(iter(runs.values()))[0][0])
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(
            interpolate="step-after", strokeWidth=2 if many == 1 else 1.6, opacity=1 if many == 1 else 0.75, clip=True
        )
        .encode(
            x=time_axis(alt, 0.0, longest),
            y=alt.Y(
                "sessions:Q",
                title=unit,
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
        .properties(width=700, height=320, title=alt.TitleParams(heading, subtitle=subtitle))
    )
    if interactive:
        chosen = legend_choice(alt, "arm")
        lines = lines.add_params(chosen, zoom(alt)).transform_filter(chosen)
    spec: dict[str, Any] = lines.to_dict(validate=False)
    return spec


def levels(made: list[tuple[Recording, Verdict]], name: str) -> Iterator[dict[str, Any]]:
    """Yield rows {t, sessions, arm, round} of an arm's runs; time starts at each run's baseline."""
    for number, (recording, _) in enumerate(made, 1):
        begin, _ = series.span(recording)
        for row in series.sessions(recording, OVERLAY_POINTS):
            level = sum(row[state] for state in series.STATES)
            yield {"t": round(row["t"] - begin, 2), "sessions": level, "arm": name, "round": number}


def cycled(values: Sequence[Any], names: list[str]) -> list[Any]:
    """Return one value per name, repeated from the start where there are too few."""
    return [values[n % len(values)] for n in range(len(names))]


def multiples_chart(runs: Runs, heading: str, *, columns: int = COLUMNS) -> dict[str, Any]:
    """Return a small growth chart of each arm's first run with its answer, all on the same axes."""
    alt = altair()
    first = {arm: made[0] for arm, made in runs.items()}
    spans = {arm: series.span(recording) for arm, (recording, _) in first.items()}
    length = max(end - begin for begin, end in spans.values())
    rows = {arm: series.sessions(recording, MULTIPLES_POINTS) for arm, (recording, _) in first.items()}
    top = 1.15 * ceiling(max(sum(row[state] for state in series.STATES) for made in rows.values() for row in made))
    used = [s for s in series.STATES if any(row[s] for made in rows.values() for row in made)]
    charts = []
    for number, (arm, (recording, verdict)) in enumerate(first.items()):
        begin = spans[arm][0]
        unit = session_unit(recording) if number % columns == 0 else None
        low = number + columns >= len(first)
        layers = [
            *shades(alt, recording, begin, begin + length, last=low),
            area(alt, rows[arm], begin, begin + length, unit, last=low, top=top, used=used),
            *answer(alt, verdict, begin + length, size=11),
        ]
        made = alt.layer(*layers).properties(
            width=SMALL, height=LOW, title=alt.TitleParams(f"{arm}: {verdict.outcome.upper()}", fontSize=12)
        )
        charts.append(made)
    chart = alt.concat(*charts, columns=columns, spacing=18).properties(title=alt.TitleParams(heading))
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return spec
