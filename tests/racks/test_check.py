"""The judge of layouts finds every rule that is broken."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from broker.domain.slots import Steps, Window
from broker.racks.check import violations
from broker.racks.layout import Layout, Room, Stay, Unseated

ROOM = Room(2, Steps(((0, 3), (5, 6))), Steps.level(0))  # domain 1 has one slice before slot 5, then there are three
STAYS = (Stay("a", Window(0, 9), 2, {0: 2}), Stay("b", Window(2, 6), 1), Stay("c", Window(6, 9), 3))
GOOD: dict[str, dict[int, int]] = {"a": {0: 2}, "b": {1: 1}, "c": {1: 1, 2: 2}}


def found(seats: Mapping[str, Mapping[int, int]], **fields: frozenset[str] | tuple[Unseated, ...]) -> tuple[str, ...]:
    return violations(ROOM, STAYS, Layout({**GOOD, **seats}, **fields), now=1)  # type: ignore[arg-type]


def test_a_layout_that_keeps_every_rule() -> None:
    assert found({}) == ()
    assert found({"b": {}}, unseated=(Unseated("b", 2, 1, 0),)) == ()
    assert found({"a": {1: 1, 0: 1}, "b": {0: 1}}, displaced=frozenset({"a"})) == ()


@pytest.mark.parametrize(
    ("seats", "words"),
    [
        ({"c": {2: 2}}, "c: 2 slices of 3"),
        ({"c": {1: 2, 2: 2}}, "c: 4 slices of 3"),
        ({"b": {}}, "b: 0 slices of 1"),
        ({"b": {0: 1}}, "domain 0 slot 2: 3 slices taken of 2"),
        ({"a": {0: 1, 2: 1}}, "a: has started and was moved"),
        ({"b": {2: 1}}, "b: 1 slices of domain 2, which has not so many"),
        ({"c": {1: 1, 3: 2}}, "c: 2 slices of domain 3, which has not so many"),
        ({"c": {1: 3}}, "c: 3 slices of domain 1, which has not so many"),
    ],
)
def test_each_rule(seats: Mapping[str, Mapping[int, int]], words: str) -> None:
    assert words in found(seats)


def test_who_is_said_to_have_no_place_has_none() -> None:
    assert "b: seated and said not to be" in found({}, unseated=(Unseated("b", 2, 1, 0),))
