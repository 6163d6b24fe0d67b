"""Recordings -> charts, each a Vega-Lite description, which becomes SVG, PNG or a live part of a page."""

from connleak.render.charts.drawing import recoloured, themed, to_png, to_svg
from connleak.render.charts.growth import growth_chart
from connleak.render.charts.lifelines import ages_chart, lifelines_chart, sides_chart
from connleak.render.charts.overlay import multiples_chart, overlay_chart

__all__ = [
    "ages_chart",
    "growth_chart",
    "lifelines_chart",
    "multiples_chart",
    "overlay_chart",
    "recoloured",
    "sides_chart",
    "themed",
    "to_png",
    "to_svg",
]
