"""What all charts share: the libraries, colours that the colour-blind can tell apart, and the themes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connleak.model.errors import Error
from connleak.render.sanitize import harmless

COLOURS = {
    "idle in transaction": "#D55E00",
    "waiting": "#CC79A7",
    "active": "#009E73",
    "idle": "#56B4E9",
    "open": "#0072B2",
    "other": "#8A8A8A",
}
"""Okabe and Ito's, which the colour-blind can tell apart."""
ARMS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9", "#7A3E9D", "#4D4D4D")
"""Of lines that are compared, each with a dash of its own besides."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [10, 4], [4, 4], [1, 3], [12, 3, 3, 3])
INK, DIM, FAINT, SHADE, ALARM = "#1D2329", "#444444", "#777777", "#888888", "#B03A00"
"""Of lines and words on a chart, in the light theme."""
HEAT = "yellowgreenblue"
DARK = {
    HEAT: "viridis",
    INK: "#E4E8EB",
    DIM: "#C9D1D8",
    FAINT: "#9AA5AF",
    ALARM: "#FF9D76",
    "#4D4D4D": "#BDBDBD",
    "#8A6D00": "#F0E442",
}
PRINT = {
    HEAT: "greys",
    "#D55E00": "#1A1A1A",
    "#CC79A7": "#6E6E6E",
    "#009E73": "#969696",
    "#56B4E9": "#D9D9D9",
    "#0072B2": "#4D4D4D",
    "#8A8A8A": "#F2F2F2",
    "#7A8FA6": "#BDBDBD",
    "#CC3311": "#000000",
    ALARM: "#000000",
}
"""What takes a colour's place in the dark theme, and in print without colours."""
PAPER = {"light": "#FFFFFF", "dark": "#15191D", "print": "#FFFFFF"}


def altair() -> Any:
    """Returns the altair module, imported late: it takes half a second."""
    try:
        import altair as alt
    except ImportError:
        raise Error(
            "charts need the packages altair and vl-convert-python", "pip install 'connleak[lab]'", exit_code=4
        ) from None
    alt.data_transformers.disable_max_rows()
    return alt


def time_axis(alt: Any, begin: float, end: float, *, last: bool = True, field: str = "t:Q") -> Any:
    """Returns the time axis, in seconds, minutes or hours; only the lowest chart's bears the title."""
    length = end - begin
    unit, size = ("hours", 3600) if length >= 14_400 else ("minutes", 60) if length >= 240 else ("seconds", 1)
    step = size * next(n for n in (1, 2, 5, 10, 15, 20, 30, 60, 120, 240, 480, 10**9) if length / size / n <= 14)
    values = [step * n for n in range(int(begin / step), int(end / step) + 1) if step * n >= begin]
    axis = alt.Axis(values=values, labelExpr=f"format(datum.value / {size}, ',.0f')")
    if begin == end or size == 1:
        axis = alt.Axis(tickCount=12)
    scale = alt.Scale(domain=[begin, end], nice=False, zero=False)
    return alt.X(field, title=f"{unit} since the start of the run" if last else None, scale=scale, axis=axis)


def legend_choice(alt: Any, field: str) -> Any:
    """Returns the selection that a click on the legend makes, for a filter."""
    return alt.selection_point(fields=[field], bind="legend", toggle="true", name="shown")


def zoom(alt: Any) -> Any:
    """Returns the selection that moves and zooms a chart in time."""
    return alt.selection_interval(bind="scales", encodings=["x"], name="zoom")


def live(spec: dict[str, Any]) -> dict[str, Any]:
    """Returns an interactive chart whose selections stand in one view each: Altair lifts them to every layer."""
    params = spec.get("params", [])
    found = list(units(spec))
    for param in params:
        if param["name"] == "shown":
            param["views"] = [unit["name"] for unit in found if {"param": "shown"} in filters(unit)][:1]
        elif len(param.get("views", [])) > 1:
            param["views"] = param["views"][:1]
    return spec


def units(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the named layers of a chart."""
    if "name" in spec and "mark" in spec:
        yield spec
    for part in (*spec.get("vconcat", ()), *spec.get("layer", ())):
        yield from units(part)


def filters(unit: dict[str, Any]) -> list[Any]:
    return [step.get("filter") for step in unit.get("transform", [])]


LONGEST, CSV = 300, 10_000_000
"""Characters of a text on a chart, and of a table."""


def cleaned(value: Any, most: int = LONGEST) -> Any:
    """Returns a description whose texts are harmless: the library that draws it ends the process at some of them."""
    if isinstance(value, dict):  # a table as CSV is one text, of any length
        return {key: cleaned(v, CSV if key == "values" else most) for key, v in value.items()}
    if isinstance(value, list):
        return [cleaned(v) for v in value]
    return harmless(value, most) if isinstance(value, str) else value


def themed(spec: dict[str, Any], theme: str) -> dict[str, Any]:
    """Returns a chart in a theme: light, dark or print."""
    changes = {"dark": DARK, "print": PRINT}.get(theme, {})
    made: dict[str, Any] = recoloured(cleaned(spec), changes)
    return {**made, "background": PAPER[theme], "config": {**made.get("config", {}), **inks(theme == "dark")}}


def recoloured(value: Any, changes: dict[str, str]) -> Any:
    """Returns a description with some colours changed, wherever they stand; data is left alone."""
    if isinstance(value, dict):
        return {key: v if key == "values" else recoloured(v, changes) for key, v in value.items()}
    if isinstance(value, list):
        return [recoloured(v, changes) for v in value]
    return changes.get(value, value) if isinstance(value, str) else value


def inks(dark: bool) -> dict[str, Any]:
    """Returns the configuration of axes, legends and titles."""
    ink, line = ("#C9D1D8", "#4A545E") if dark else ("#333A40", "#C4CCD3")
    axis: dict[str, Any] = {
        "labelColor": ink,
        "titleColor": ink,
        "gridColor": line,
        "domainColor": line,
        "tickColor": line,
    }
    axis |= {"gridOpacity": 0.5, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"}
    legend: dict[str, Any] = {
        "labelColor": ink,
        "titleColor": ink,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "labelLimit": 320,
    }
    title: dict[str, Any] = {
        "color": ink,
        "subtitleColor": ink,
        "anchor": "start",
        "fontSize": 15,
        "subtitleFontSize": 11,
    }
    return {"view": {"stroke": None}, "axis": axis, "legend": legend, "title": {**title, "subtitlePadding": 4}}


def converter() -> Any:
    """Returns vl-convert, which draws without a browser."""
    try:
        import vl_convert
    except ImportError:
        raise Error("charts need the package vl-convert-python", "pip install 'connleak[lab]'", exit_code=4) from None
    return vl_convert


def to_svg(spec: dict[str, Any], theme: str = "light") -> str:
    """Returns the chart as SVG text."""
    return str(converter().vegalite_to_svg(themed(spec, theme)))


def to_png(svg: str) -> bytes:
    """Returns the drawn chart as a PNG of twice the nominal size."""
    return bytes(converter().svg_to_png(svg, scale=2))
