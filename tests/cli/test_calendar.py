"""The calendar: every held device has a number of its own, below the supply where that is possible."""

from __future__ import annotations

import itertools
import random
from xml.etree import ElementTree as ET

from capacitybroker import Claim

from broker.cli.calendar import Row, calendar
from broker.cli.picture import picture
from tests.cli.messages import START, claim, placement, pool

T0 = int(START.timestamp())
HOUR = 3600
SVG = "{http://www.w3.org/2000/svg}"


def row_of(*claims: Claim, levels: tuple[tuple[int, int, int], ...] = ((0, 100, 0),), hours: int = 100) -> Row:
    return calendar([pool("a", *levels)], claims, start=T0, end=T0 + hours * HOUR).rows[0]


def spans(row: Row) -> list[tuple[int, int, int, int]]:
    return [((b.start - T0) // HOUR, (b.end - T0) // HOUR, b.low, b.high) for b in row.blocks]


def test_claims_stack_and_reuse_what_others_gave_back() -> None:
    row = row_of(
        claim("t/one", placement("a", 40, 0, 10)),
        claim("t/two", placement("a", 40, 0, 20)),
        claim("t/three", placement("a", 40, 10, 20)),
    )
    assert sorted(spans(row)) == [(0, 10, 40, 80), (0, 20, 0, 40), (10, 20, 40, 80)]


def test_a_placement_is_cut_to_the_window_and_to_its_pool() -> None:
    row = row_of(
        claim("t/long", placement("a", 10, -50, 500)), claim("t/else", placement("b", 10, 0, 10)), claim("t/none")
    )
    assert spans(row) == [(0, 100, 0, 10)]


def test_parts_at_the_same_place_and_time_are_one_block() -> None:
    row = row_of(claim("t/parts", placement("a", 10, 0, 5), placement("a", 10, 0, 5), placement("a", 10, 5, 9)))
    assert sorted(spans(row)) == [(0, 5, 0, 20), (5, 9, 0, 10)]


def test_what_outlives_a_dip_of_supply_lies_below_it() -> None:
    row = row_of(
        claim("t/before", placement("a", 50, 0, 10)),
        claim("t/across", placement("a", 50, 5, 30)),
        levels=((0, 100, 0), (10, 60, 0), (20, 100, 0)),
    )
    assert {b.label: (b.low, b.high) for b in row.blocks} == {"before": (50, 100), "across": (0, 50)}


def test_no_number_is_held_twice_and_none_beyond_the_most_held_at_once() -> None:
    rng = random.Random(4)
    held = []
    for n in range(200):
        first = rng.randrange(80)
        held.append(claim(f"t/c{n}", placement("a", rng.randrange(1, 30), first, first + rng.randrange(1, 20))))
    row = row_of(*held)
    at_once = [sum(b.high - b.low for b in row.blocks if b.start <= T0 + h * HOUR < b.end) for h in range(100)]
    assert max(b.high for b in row.blocks) == max(at_once)
    for h in range(100):
        live = sorted((b.low, b.high) for b in row.blocks if b.start <= T0 + h * HOUR < b.end)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(live))


def test_a_tenant_keeps_its_colour_whoever_else_holds_something() -> None:
    def fill(*claims: Claim) -> set[str | None]:
        window = {"start": T0, "end": T0 + 9 * HOUR}
        root = ET.fromstring(picture(calendar([pool("a", (0, 100, 0))], claims, **window, known=["early", "lab"])))
        return {rect.get("fill") for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None}

    alone = fill(claim("lab/one", placement("a", 9, 0, 5)))
    both = fill(claim("lab/one", placement("a", 9, 0, 5)), claim("early/one", placement("a", 9, 0, 5)))
    assert alone < both


def test_the_picture_is_svg_and_tells_all() -> None:
    status = pool("contract-1", (0, 100, 20), (10, 30, 60), (20, 100, 20), paid=40)
    claims = [
        claim("lab/run-1", placement("contract-1", 60, 0, 20)),
        claim("evals/<odd & name>", placement("contract-1", 20, 20, 90)),
        claim("lab/waits", why="no room"),
    ]
    document = picture(calendar([status, pool("empty")], claims, start=T0, end=T0 + 100 * HOUR))
    root = ET.fromstring(document)
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert {"contract-1", "empty", "Provider & Sons", "lab", "evals", "25 %"} <= set(texts)
    assert any("claims: 2 hold capacity, 1 waiting" in text for text in texts)
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any(title.startswith("evals/<odd & name>") and "20 gb200" in title for title in titles)
    dashed = [path for path in root.iter(f"{SVG}path") if path.get("stroke-dasharray")]
    assert len(dashed) == 1
    hatched = [rect for rect in root.iter(f"{SVG}rect") if rect.get("fill") == "url(#short)"]
    assert len(hatched) == 2  # one in the legend, one where 60 are held and 30 are there
