"""Recordings -> charts as Vega-Lite descriptions, drawn as SVG or PNG, or live on a page."""

from connleak.render.charts.lifelines import ages_chart, lifelines_chart, sides_chart
from connleak.render.charts.overlay import multiples_chart, overlay_chart
from connleak.render.charts.stacked_sessions import growth_chart
from connleak.render.charts.vega import to_png, to_svg

__all__ = [
    "ages_chart",
    "growth_chart",
    "lifelines_chart",
    "multiples_chart",
    "overlay_chart",
    "sides_chart",
    "to_png",
    "to_svg",
]
