"""Draws a calendar as SVG: a row for each pool, days from left to right, claims in the colour of their tenant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

from broker.cli.calendar import Block, Calendar, Level, Row

__all__ = ["picture"]

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 1480, 176, 74, 118, 56
ROW, GAP = 92, 26
DAY = 86_400
INK, SOFT, FAINT, FREE, ALARM = "#1f2933", "#616e7c", "#e4e7eb", "#f5f7fa", "#c81e1e"
COLOURS = ("#3b6ea8", "#dd8a35", "#4f9d69", "#9a5f9e", "#3f9fae", "#c65f5a", "#b8a233", "#6d6fb5", "#8c8c7a")
OPACITY = {"guaranteed": "1", "standard": "0.78", "spot": "0.45"}
FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a moment and a number of devices are on the paper."""

    start: int
    end: int
    top: int = 1
    floor: float = 0.0

    def x(self, moment: int) -> float:
        share = (min(max(moment, self.start), self.end) - self.start) / (self.end - self.start)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)

    def y(self, devices: int) -> float:
        return round(self.floor - ROW * devices / self.top, 2)


def picture(calendar: Calendar) -> str:
    """The calendar as an SVG document; hovering over a block shows its claim."""
    height = TOP + len(calendar.rows) * (ROW + GAP) + BOTTOM
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height}",
            "width": str(WIDTH),
            "height": str(height),
            "font-family": FONT,
            "role": "img",
            "aria-label": "Calendar of pools and claims",
        },
    )
    _pattern(root)
    _rect(root, 0, 0, WIDTH, height, fill="#ffffff")
    colours = {tenant: COLOURS[n % len(COLOURS)] for n, tenant in enumerate(calendar.known)}
    _heading(root, calendar)
    _legend(root, {tenant: colours[tenant] for tenant in calendar.tenants})
    scale = _Scale(calendar.start, calendar.end)
    _days(root, scale, bottom=height - BOTTOM)
    for number, row in enumerate(calendar.rows):
        floor = TOP + number * (ROW + GAP) + ROW
        _row(root, row, _Scale(calendar.start, calendar.end, max(1, row.top), floor), colours)
    ET.indent(root, space=" ")
    return ET.tostring(root, encoding="unicode") + "\n"


def _heading(root: ET.Element, calendar: Calendar) -> None:
    first, last = (datetime.fromtimestamp(moment, UTC) for moment in (calendar.start, calendar.end))
    _text(root, LEFT, 36, "Capacity calendar", size=22, weight="600")
    _text(
        root,
        LEFT,
        58,
        f"{first:%d %b %Y %H:%M} to {last:%d %b %Y %H:%M} UTC · claims: {calendar.tally}",
        size=13,
        fill=SOFT,
    )


def _legend(root: ET.Element, colours: dict[str, str]) -> None:
    x = float(LEFT)
    for tenant, colour in colours.items():
        _rect(root, x, 73, 12, 12, fill=colour, rx="2")
        _text(root, x + 17, 83.5, tenant, size=12)
        x += 34 + 6.6 * len(tenant)
    x += 8
    for tier, opacity in OPACITY.items():
        _rect(root, x, 73, 12, 12, fill=INK, rx="2", **{"fill-opacity": opacity})
        _text(root, x + 17, 83.5, tier, size=12, fill=SOFT)
        x += 34 + 6.6 * len(tier)
    x += 8
    for label, style in (
        ("supply", {"stroke": INK, "stroke-width": "1.6"}),
        ("paid for already", {"stroke": INK, "stroke-width": "1.3", "stroke-dasharray": "5 3"}),
    ):
        _line(root, x, 79, x + 22, 79, **style)
        _text(root, x + 28, 83.5, label, size=12, fill=SOFT)
        x += 46 + 6.4 * len(label)
    _rect(root, x, 73, 14, 12, fill="url(#short)", stroke=ALARM, **{"stroke-width": "0.8"})
    _text(root, x + 20, 83.5, "short", size=12, fill=SOFT)


def _days(root: ET.Element, scale: _Scale, *, bottom: float) -> None:
    """A line for each day, and a date for as many as are readable."""
    days = (scale.end - scale.start) / DAY
    every = next((n for n in (1, 2, 7, 14, 28) if days / n <= 16), 56)
    for moment in _midnights(scale):
        at, x = datetime.fromtimestamp(moment, UTC), scale.x(moment)
        named = (at.toordinal() - 1) % every == 0
        if named or days <= 62:
            _line(root, x, TOP - 8, x, bottom - GAP + 6, stroke=FAINT, **{"stroke-width": "1.4" if named else "0.6"})
        if named and x < WIDTH - RIGHT - 18:
            for y in (TOP - 14, bottom - GAP + 22):
                _text(root, x, y, f"{at:%a} {at.day} {at:%b}", size=11, fill=SOFT, anchor="middle")


def _midnights(scale: _Scale) -> Iterator[int]:
    day = datetime.fromtimestamp(scale.start, UTC).replace(hour=0, minute=0, second=0)
    while day.timestamp() <= scale.end:
        if day.timestamp() >= scale.start:
            yield int(day.timestamp())
        day += timedelta(days=1)


def _row(root: ET.Element, row: Row, scale: _Scale, colours: dict[str, str]) -> None:
    group = ET.SubElement(root, "g")
    middle = scale.floor - ROW / 2
    _text(group, 20, middle - 8, row.pool, size=14, weight="600")
    for n, note in enumerate(row.notes[:3]):
        _text(group, 20, middle + 8 + 14 * n, note, size=11, fill=SOFT)
    _text(group, LEFT - 8, scale.y(scale.top) + 8, f"{row.top:,}", size=10, fill=SOFT, anchor="end")
    _text(group, LEFT - 8, scale.floor, "0", size=10, fill=SOFT, anchor="end")
    if row.used_percent is not None:
        _text(group, WIDTH - RIGHT + 12, middle, f"{row.used_percent} %", size=15, weight="600")
        _text(group, WIDTH - RIGHT + 12, middle + 15, "used", size=11, fill=SOFT)
    _path(group, _area(row.supplied, scale), fill=FREE, stroke="none")
    for block in row.blocks:
        _block(group, block, scale, colours[block.tenant])
    for first, until, low, high in _shortfalls(row, scale.end):
        x, y = scale.x(first), scale.y(high)
        style = {"stroke": ALARM, "stroke-width": "0.8"}
        _rect(group, x, y, scale.x(until) - x, scale.y(low) - y, fill="url(#short)", **style)
    _path(group, _steps(row.supplied, scale), fill="none", stroke=INK, **{"stroke-width": "1.6"})
    if row.paid:
        style = {"stroke-width": "1.3", "stroke-dasharray": "5 3"}
        _path(group, _steps(row.paid, scale), fill="none", stroke=INK, **style)
    _line(group, LEFT, scale.floor, WIDTH - RIGHT, scale.floor, stroke=SOFT, **{"stroke-width": "0.8"})


def _block(group: ET.Element, block: Block, scale: _Scale, colour: str) -> None:
    x, y = scale.x(block.start), scale.y(block.high)
    width, height = scale.x(block.end) - x, scale.y(block.low) - y
    # A white line around each block tells neighbours apart, unless it would be all that is left of it.
    style = {"stroke": "#ffffff", "stroke-width": "0.7"} if min(width, height) > 2.5 else {}
    shape = _rect(group, x, y, width, height, fill=colour, **{"fill-opacity": OPACITY.get(block.tier, "0.6")}, **style)
    ET.SubElement(shape, "title").text = block.title
    letters = int((width - 8) / 5.6)
    if height >= 13 and letters >= 4:
        label = block.label if len(block.label) <= letters else block.label[: letters - 1] + "…"
        ink = INK if block.tier == "spot" else "#ffffff"
        _text(group, x + 4, y + height / 2 + 3.4, label, size=10, fill=ink, **{"pointer-events": "none"})


def _shortfalls(row: Row, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Where more is held than there is: from, until, and the devices between supply and use."""
    ends = [*(moment for moment, _ in row.supplied[1:]), end]
    # Not strict: an empty pool has no levels, and so nothing but the end.
    for (first, supplied), (_, granted), until in zip(row.supplied, row.granted, ends, strict=False):
        if granted > supplied:
            yield first, until, supplied, granted


def _steps(levels: Sequence[Level], scale: _Scale) -> str:
    """A line that steps from level to level, to the right edge."""
    if not levels:
        return ""
    parts = [f"M{scale.x(levels[0][0])} {scale.y(levels[0][1])}"]
    parts += [f"H{scale.x(moment)}V{scale.y(devices)}" for _, (moment, devices) in pairwise(levels)]
    return "".join([*parts, f"H{scale.x(scale.end)}"])


def _area(levels: Sequence[Level], scale: _Scale) -> str:
    """All below the line."""
    return f"{_steps(levels, scale)}V{scale.floor}H{scale.x(levels[0][0])}Z" if levels else ""


def _pattern(root: ET.Element) -> None:
    definitions = ET.SubElement(root, "defs")
    box = {"id": "short", "width": "6", "height": "6", "patternUnits": "userSpaceOnUse"}
    pattern = ET.SubElement(definitions, "pattern", {**box, "patternTransform": "rotate(45)"})
    _rect(pattern, 0, 0, 6, 6, fill="#ffffff", **{"fill-opacity": "0.55"})
    _line(pattern, 0, 0, 0, 6, stroke=ALARM, **{"stroke-width": "2.4"})


def _rect(parent: ET.Element, x: float, y: float, width: float, height: float, **style: str) -> ET.Element:
    place = {"x": x, "y": y, "width": width, "height": height}
    return ET.SubElement(parent, "rect", {k: _number(v) for k, v in place.items()} | style)


def _line(parent: ET.Element, x1: float, y1: float, x2: float, y2: float, **style: str) -> None:
    place = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    ET.SubElement(parent, "line", {k: _number(v) for k, v in place.items()} | style)


def _path(parent: ET.Element, shape: str, **style: str) -> None:
    if shape:
        ET.SubElement(parent, "path", {"d": shape} | style)


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
    ET.SubElement(parent, "text", {"x": _number(x), "y": _number(y)} | look | style).text = text


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
