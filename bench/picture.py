"""Draws lines over two axes as SVG, linear or logarithmic: no more of a plotting library than the benches need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

__all__ = ["Axis", "Line", "Panel", "picture"]

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 860, 340, 92, 190, 54, 58
INK, SOFT, FAINT = "#1f2933", "#616e7c", "#e4e7eb"
COLOURS = ("#3b6ea8", "#dd8a35", "#4f9d69", "#9a5f9e", "#3f9fae", "#c65f5a", "#b8a233", "#6d6fb5", "#8c8c7a")
FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, sans-serif"
TICKS = 6
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Axis:
    """What is measured along an edge, and whether in powers of ten."""

    label: str
    is_log: bool = False
    low: float | None = None  # as the data has it unless said
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """Points from left to right, joined straight, or holding each level until the next point."""

    label: str
    points: tuple[tuple[float, float], ...]
    colour: int = 0
    is_dashed: bool = False
    holds: bool = False
    has_dots: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram with a title."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a value is on the paper, between two ends of an axis."""

    low: float
    high: float
    is_log: bool
    begin: float
    end: float

    def at(self, value: float) -> float:
        low, high, here = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.begin + (min(max(here, low), high) - low) / (high - low) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Round values: powers of ten, or steps of 1, 2 or 5 times one."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**k for k in range(first, last + 1)]
        raw = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * k for k in (1, 2, 5, 10) if power * k >= raw * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def picture(heading: str, panels: Sequence[Panel]) -> str:
    """The panels one below the other, as an SVG document."""
    height = 40 + len(panels) * (PANEL + TOP + BOTTOM)
    size = {"viewBox": f"0 0 {WIDTH} {height}", "width": str(WIDTH), "height": str(height)}
    names = {"xmlns": "http://www.w3.org/2000/svg", "font-family": FONT, "role": "img", "aria-label": heading}
    root = ET.Element("svg", size | names)
    ET.SubElement(root, "rect", {"width": str(WIDTH), "height": str(height), "fill": "#ffffff"})
    _text(root, 20, 32, heading, size=20, weight="600")
    for number, panel in enumerate(panels):
        _panel(root, panel, 40 + number * (PANEL + TOP + BOTTOM) + TOP)
    ET.indent(root, space=" ")
    return ET.tostring(root, encoding="unicode") + "\n"


def _panel(root: ET.Element, panel: Panel, top: float) -> None:
    group = ET.SubElement(root, "g")
    _text(group, LEFT, top - 16, panel.title, size=14, weight="600")
    points = [point for line in panel.lines for point in line.points]
    x = _scale(panel.x, [p[0] for p in points], LEFT, WIDTH - RIGHT)
    y = _scale(panel.y, [p[1] for p in points], top + PANEL, top)
    for value in x.ticks():
        _rule(group, x.at(value), top, x.at(value), top + PANEL)
        _text(group, x.at(value), top + PANEL + 18, _named(value), size=11, fill=SOFT, anchor="middle")
    for value in y.ticks():
        _rule(group, LEFT, y.at(value), WIDTH - RIGHT, y.at(value))
        _text(group, LEFT - 8, y.at(value) + 4, _named(value), size=11, fill=SOFT, anchor="end")
    _text(group, (LEFT + WIDTH - RIGHT) / 2, top + PANEL + 40, panel.x.label, size=12, fill=SOFT, anchor="middle")
    turn = f"rotate(-90 24 {top + PANEL / 2:.0f})"
    _text(group, 24, top + PANEL / 2, panel.y.label, size=12, fill=SOFT, anchor="middle", transform=turn)
    for number, line in enumerate(panel.lines):
        _line(group, line, x, y)
        at = top + 8 + 18 * number
        _stroke(group, f"M{WIDTH - RIGHT + 14} {at}h22", line)
        _text(group, WIDTH - RIGHT + 42, at + 4, line.label, size=12)


def _scale(axis: Axis, values: Sequence[float], begin: float, end: float) -> _Scale:
    """The whole of the data; on a logarithmic axis, between powers of ten."""
    some = [v for v in values if v > 0 or not axis.is_log]
    low, high = min(some, default=1.0), max(some, default=1.0)
    low, high = (axis.low if axis.low is not None else low), (axis.high if axis.high is not None else high)
    if axis.is_log:
        low, high = 10.0 ** math.floor(math.log10(low) + 1e-9), 10.0 ** math.ceil(math.log10(high) - 1e-9)
        return _Scale(low, high if high > low else 10 * low, True, begin, end)
    return _Scale(low, high if high > low else low + 1, False, begin, end)


def _line(group: ET.Element, line: Line, x: _Scale, y: _Scale) -> None:
    places = [(round(x.at(a), 2), round(y.at(b), 2)) for a, b in line.points]
    if not places:
        return
    step = "H{0}V{1}" if line.holds else "L{0} {1}"
    _stroke(group, f"M{places[0][0]} {places[0][1]}" + "".join(step.format(a, b) for a, b in places[1:]), line)
    if line.has_dots:
        for a, b in places:
            ET.SubElement(group, "circle", {"cx": str(a), "cy": str(b), "r": "3.2", "fill": _colour(line)})


def _stroke(group: ET.Element, shape: str, line: Line) -> None:
    look = {"d": shape, "fill": "none", "stroke": _colour(line), "stroke-width": "1.8", "stroke-linejoin": "round"}
    ET.SubElement(group, "path", look | ({"stroke-dasharray": "5 3"} if line.is_dashed else {}))


def _colour(line: Line) -> str:
    return COLOURS[line.colour % len(COLOURS)]


def _rule(group: ET.Element, x1: float, y1: float, x2: float, y2: float) -> None:
    place = {k: f"{v:.2f}" for k, v in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2))}
    ET.SubElement(group, "line", place | {"stroke": FAINT})


def _text(
    parent: ET.Element,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    fill: str = INK,
    weight: str = "400",
    anchor: str = "start",
    **style: str,
) -> None:
    look = {"font-size": str(size), "fill": fill, "font-weight": weight, "text-anchor": anchor}
    ET.SubElement(parent, "text", {"x": f"{x:.2f}", "y": f"{y:.2f}"} | look | style).text = text


def _named(value: float) -> str:
    """A tick in few letters: 2500000 is 2.5M."""
    for unit, letter in UNITS:
        if abs(value) >= unit * (1 - 1e-9):
            return f"{value / unit:g}{letter}"
    return f"{value:.6g}"
