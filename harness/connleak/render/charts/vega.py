"""Altair and vl-convert, imported on first use, and the axis and selections that all charts share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connleak.model.errors import Error
from connleak.render.charts.style import themed

UNITS = (("hours", 3600, 14_400), ("minutes", 60, 240), ("seconds", 1, 0))
"""Units of the time axis: name, seconds, and the run's length from which the unit is used."""
STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 240, 480, 10**9)
MOST_TICKS = 14


def altair() -> Any:
    """Return the altair module; its import takes half a second."""
    try:
        import altair as alt
    except ImportError:
        raise Error(
            "charts need the packages altair and vl-convert-python", "pip install 'connleak[lab]'", exit_code=4
        ) from None
    alt.data_transformers.disable_max_rows()
    return alt


def converter() -> Any:
    """Return vl-convert, which draws without a browser."""
    try:
        import vl_convert
    except ImportError:
        raise Error("charts need the package vl-convert-python", "pip install 'connleak[lab]'", exit_code=4) from None
    return vl_convert


def to_svg(spec: dict[str, Any], theme: str = "light") -> str:
    """Return the chart as SVG text."""
    return str(converter().vegalite_to_svg(themed(spec, theme)))


def to_png(svg: str) -> bytes:
    """Return an SVG chart as a PNG of twice the nominal size."""
    return bytes(converter().svg_to_png(svg, scale=2))


def time_axis(alt: Any, begin: float, end: float, *, last: bool = True, field: str = "t:Q") -> Any:
    """Return the time axis in seconds, minutes or hours; `last` marks the lowest chart, which shows the title."""
    length = end - begin
    unit, size = next((name, size) for name, size, shortest in UNITS if length >= shortest)
    step = size * next(n for n in STEPS if length / size / n <= MOST_TICKS)
    values = [step * n for n in range(int(begin / step), int(end / step) + 1) if step * n >= begin]
    axis = alt.Axis(values=values, labelExpr=f"format(datum.value / {size}, ',.0f')")
    if begin == end or size == 1:
        axis = alt.Axis(tickCount=12)
    scale = alt.Scale(domain=[begin, end], nice=False, zero=False)
    return alt.X(field, title=f"{unit} since the start of the run" if last else None, scale=scale, axis=axis)


def legend_choice(alt: Any, field: str) -> Any:
    """Return the selection that a click on the legend makes, for a filter."""
    return alt.selection_point(fields=[field], bind="legend", toggle="true", name="shown")


def zoom(alt: Any) -> Any:
    """Return the selection that pans and zooms a chart in time."""
    return alt.selection_interval(bind="scales", encodings=["x"], name="zoom")


def with_single_views(spec: dict[str, Any]) -> dict[str, Any]:
    """Return an interactive chart with each selection bound to one view: Altair binds it to every layer."""
    params = spec.get("params", [])
    views = list(named_layers(spec))
    for param in params:
        if param["name"] == "shown":
            param["views"] = [view["name"] for view in views if {"param": "shown"} in filters(view)][:1]
        elif len(param.get("views", [])) > 1:
            param["views"] = param["views"][:1]
    return spec


def named_layers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the named layers of a chart."""
    if "name" in spec and "mark" in spec:
        yield spec
    for part in (*spec.get("vconcat", ()), *spec.get("layer", ())):
        yield from named_layers(part)


def filters(view: dict[str, Any]) -> list[Any]:
    return [step.get("filter") for step in view.get("transform", [])]
