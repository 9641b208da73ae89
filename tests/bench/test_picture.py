from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench.answer import Point
from bench.curves import panel
from bench.generator import Synthetic
from bench.growth import panels
from bench.measure import Measured
from bench.picture import Axis, Line, Panel, picture
from bench.sources import Source

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*panels: Panel) -> ET.Element:
    return ET.fromstring(picture("Heading", panels))


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_picture_names_its_axes_its_panels_and_its_lines() -> None:
    line = Line("ours", ((0.0, 1.0), (10.0, 3.0)))
    words = texts(drawn(Panel("Title", Axis("across"), Axis("up"), (line,))))
    assert {"Heading", "Title", "across", "up", "ours"} <= set(words)


def test_a_logarithmic_axis_has_a_tick_for_each_power_of_ten() -> None:
    line = Line("ours", ((50.0, 1.0), (100_000.0, 3.0)))
    words = texts(drawn(Panel("Title", Axis("claims", is_log=True), Axis("up"), (line,))))
    assert {"10", "100", "1k", "10k", "100k"} <= set(words)


@pytest.mark.parametrize("points", [(), ((5.0, 5.0),), ((1.0, 2.0), (3.0, 2.0))])
def test_little_or_nothing_to_draw_is_no_fault(points: tuple[tuple[float, float], ...]) -> None:
    for is_log in (False, True):
        axis = Axis("axis", is_log=is_log)
        assert "nan" not in picture("Heading", [Panel("Title", axis, axis, (Line("ours", points),))])


def measured(family: str, solver: str, *points: Point, peak_mib: int = 100) -> Measured:
    source = Source(Synthetic(family, 1.1, 1))
    last = points[-1] if points else Point(0, 0, None)
    size = {"XS": 50, "S": 500}[family]
    return Measured(source, solver, size, 9 * size, 1, last.objective, last.bound, 1.0, peak_mib, points)


def test_a_solver_with_a_bound_has_two_curves_and_one_without_has_one() -> None:
    ours = measured("S", "ours", Point(0.1, 50, 200.0), Point(1.0, 90, 100.0))
    queue = measured("S", "by-density", Point(0.1, 80, None))
    lines = panel([ours, queue], 10.0).lines
    assert [line.label for line in lines] == ["ours", "ours, bound", "by-density"]
    assert lines[0].points == ((0.1, 50.0), (1.0, 90.0), (10.0, 90.0))


def test_a_solver_without_a_plan_has_no_curve() -> None:
    assert panel([measured("S", "highs")], 10.0).lines == ()


def test_growth_draws_only_what_was_reached() -> None:
    runs = [
        measured("XS", "ours", Point(0.01, 50, 200.0), Point(0.5, 99, 100.0)),
        measured("S", "ours", Point(0.1, 50, 200.0), peak_mib=300),
    ]
    seconds, memory = panels(runs)
    points = {line.label: line.points for line in (*seconds.lines, *memory.lines)}
    assert points["ours: first plan"] == ((50.0, 0.01), (500.0, 0.1))
    assert points["ours: 5 % gap"] == ((50.0, 0.5),)
    assert points["ours"] == ((50.0, 100.0), (500.0, 300.0))
