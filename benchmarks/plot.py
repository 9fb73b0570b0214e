"""A small SVG writer: panels with axes, lines, marks and one legend; readable on light and on dark ground."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

PANEL_WIDTH, PANEL_HEIGHT = 340, 300
LEFT, TOP, GAP, BOTTOM = 56, 34, 56, 46
LEGEND_LINE = 20

COLOURS = ("#8a8f98", "#d9822b", "#3f8fd2", "#2f9e6e", "#b15fc4", "#d6455d")
"""Each stands out on white and on black."""

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #3b4048 }
  .title { font-weight: 600; font-size: 13px }
  .axis { stroke: #6b7280; fill: none }
  .grid { stroke: #6b7280; stroke-opacity: .22 }
  @media (prefers-color-scheme: dark) { text { fill: #d5d9e0 } .axis { stroke: #9aa3b0 } }
"""


@dataclass(frozen=True)
class Series:
    """Points in the units of the axes, joined by a line, or, with `marks`, each marked by itself."""

    label: str
    points: Sequence[tuple[float, float]]
    marks: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """A linear axis from 0 to `end`, with these ticks."""

    label: str
    end: float
    ticks: Sequence[float]


@dataclass
class Panel:
    """One diagram. Series of the same label have the same colour in every panel."""

    title: str
    x: Axis
    y: Axis
    series: list[Series] = field(default_factory=list)


def svg(panels: Sequence[Panel], title: str) -> str:
    """All panels side by side, over one legend."""
    labels = list(dict.fromkeys(series.label for panel in panels for series in panel.series))
    colours = {label: COLOURS[position % len(COLOURS)] for position, label in enumerate(labels)}
    styles = {series.label: series for panel in panels for series in panel.series}
    width = LEFT + len(panels) * PANEL_WIDTH + (len(panels) - 1) * GAP + 20
    columns = 2
    legend_top = TOP + PANEL_HEIGHT + BOTTOM + 18
    height = legend_top + LEGEND_LINE * -(-len(labels) // columns) + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
    ]
    for position, panel in enumerate(panels):
        parts += _panel(panel, LEFT + position * (PANEL_WIDTH + GAP), colours)
    for position, label in enumerate(labels):
        x = LEFT + (position % columns) * (width - LEFT) // columns
        y = legend_top + position // columns * LEGEND_LINE
        parts.append(_sample(styles[label], x, y - 4, colours[label]))
        parts.append(f'<text x="{x + 34}" y="{y}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, left: float, colours: dict[str, str]) -> list[str]:
    def across(value: float) -> float:
        return round(left + value / panel.x.end * PANEL_WIDTH, 1)

    def up(value: float) -> float:
        return round(TOP + PANEL_HEIGHT * (1 - value / panel.y.end), 1)

    bottom, middle = TOP + PANEL_HEIGHT, left + PANEL_WIDTH / 2
    parts = [f'<text class="title" x="{middle}" y="{TOP - 14}" text-anchor="middle">{escape(panel.title)}</text>']
    for tick in panel.x.ticks:
        x = across(tick)
        parts.append(f'<path class="grid" d="M{x} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 17}" text-anchor="middle">{tick:g}</text>')
    for tick in panel.y.ticks:
        y = up(tick)
        parts.append(f'<path class="grid" d="M{left} {y}H{left + PANEL_WIDTH}"/>')
        parts.append(f'<text x="{left - 7}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    parts.append(f'<path class="axis" d="M{left} {TOP}V{bottom}H{left + PANEL_WIDTH}"/>')
    parts.append(f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{escape(panel.x.label)}</text>')
    y_label = f'x="{left - 38}" y="{TOP + PANEL_HEIGHT / 2}" text-anchor="middle"'
    turn = f'transform="rotate(-90 {left - 38} {TOP + PANEL_HEIGHT / 2})"'
    parts.append(f"<text {y_label} {turn}>{escape(panel.y.label)}</text>")
    for series in panel.series:
        shown = [point for point in series.points if point[0] <= panel.x.end and point[1] <= panel.y.end]
        places = [(across(x), up(y)) for x, y in shown]
        if series.marks:
            parts += [_mark(x, y, colours[series.label]) for x, y in places]
        elif places:
            path = " ".join(f"{x},{y}" for x, y in places)
            parts.append(f'<polyline points="{path}" {_stroke(series, colours[series.label])}/>')
    return parts


def _sample(series: Series, x: float, y: float, colour: str) -> str:
    if series.marks:
        return _mark(x + 13, y, colour)
    return f'<path d="M{x} {y}H{x + 26}" {_stroke(series, colour)}/>'


def _stroke(series: Series, colour: str) -> str:
    dashes = ' stroke-dasharray="5 4"' if series.dashed else ""
    return f'fill="none" stroke="{colour}" stroke-width="2"{dashes}'


def _mark(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x}" cy="{y}" r="5.5" fill="{colour}"/>'
