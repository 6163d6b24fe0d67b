"""Colours, fonts and themes of all charts; every colour scale is legible to colour-blind readers."""

from __future__ import annotations

from typing import Any

from connleak.render.sanitize import harmless

COLOURS = {
    "idle in transaction": "#D55E00",
    "waiting": "#CC79A7",
    "active": "#009E73",
    "idle": "#56B4E9",
    "open": "#0072B2",
    "other": "#8A8A8A",
}
"""Colour of each session state, from the palette of Okabe and Ito."""
ARMS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9", "#7A3E9D", "#4D4D4D")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [10, 4], [4, 4], [1, 3], [12, 3, 3, 3])
"""Colour and dash of each arm of a comparison, in order."""
INK, DIM, FAINT, SHADE, ALARM = "#1D2329", "#444444", "#777777", "#888888", "#B03A00"
"""Colours of lines and text on a chart in the light theme."""
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
"""Replacements for the light theme's colours in the dark theme and in greyscale print."""
PAPER = {"light": "#FFFFFF", "dark": "#15191D", "print": "#FFFFFF"}
LONGEST_TEXT, LONGEST_TABLE = 300, 10_000_000
"""Maximum characters of a text on a chart, and of a table in CSV."""
DATA = ("values", "datasets")
"""Keys of a chart description that hold its data; Altair moves CSV tables to `datasets`."""


def cleaned(value: Any, longest: int = LONGEST_TEXT) -> Any:
    """Return a chart description with all its text sanitized: control characters abort the drawing library."""
    if isinstance(value, dict):
        return {key: cleaned_data(v) if key in DATA else cleaned(v, longest) for key, v in value.items()}
    if isinstance(value, list):
        return [cleaned(v) for v in value]
    return harmless(value, longest) if isinstance(value, str) else value


def cleaned_data(data: Any) -> Any:
    """Return a chart's data with all its text sanitized: rows, or CSV tables, each of which is one long text."""
    if isinstance(data, dict):
        return {name: cleaned_data(table) for name, table in data.items()}
    return cleaned(data, LONGEST_TABLE)


def themed(spec: dict[str, Any], theme: str) -> dict[str, Any]:
    """Return a chart in a theme: light, dark or print."""
    changes = {"dark": DARK, "print": PRINT}.get(theme, {})
    chart: dict[str, Any] = recoloured(cleaned(spec), changes)
    return {**chart, "background": PAPER[theme], "config": {**chart.get("config", {}), **theme_config(theme == "dark")}}


def recoloured(value: Any, changes: dict[str, str]) -> Any:
    """Return a chart description with colours replaced everywhere except in its data."""
    if isinstance(value, dict):
        return {key: v if key in DATA else recoloured(v, changes) for key, v in value.items()}
    if isinstance(value, list):
        return [recoloured(v, changes) for v in value]
    return changes.get(value, value) if isinstance(value, str) else value


def theme_config(dark: bool) -> dict[str, Any]:
    """Return the Vega-Lite configuration of axes, legends and titles."""
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
