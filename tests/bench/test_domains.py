"""The bench of domains: its bounds bound, and a gang without a place would be told."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import domains
from bench.domains import CUTS, EIGHTS, RACK, Gang, best_bound, best_exact, best_in_racks, crowd, life, racks_needed
from broker.racks.layout import Layout, Unseated

gangs = st.builds(Gang, st.integers(1, 160), st.booleans(), st.sampled_from([0, 8, 32, 64]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), racks=st.integers(1, 3))
def test_no_packing_beats_the_bound_and_the_best_beats_every_split(seed: int, racks: int) -> None:
    wanted = crowd(seed, racks, 120)
    best = best_exact(wanted, racks)
    assert best is not None
    assert best_in_racks(wanted, racks).max() <= best <= best_bound(wanted, racks)


@settings(max_examples=50, deadline=None)
@given(wanted=st.lists(gangs, max_size=4), racks=st.integers(1, 3))
def test_the_best_of_a_split_is_the_best_of_all_ways_to_choose(wanted: list[Gang], racks: int) -> None:
    found = best_in_racks(wanted, racks)
    for split in range(racks + 1):
        best = 0
        for sides in product((None, RACK, EIGHTS), repeat=len(wanted)):
            used = {RACK: 0, EIGHTS: 0}
            trays = 0
            for one, side in zip(wanted, sides, strict=True):
                if side is not None:
                    piece = side.piece(whole_domains=one.whole, segment=one.segment)
                    used[side] += -(-one.devices // piece.holds) if piece else 10**6
                    trays += -(-one.devices // 4)
            if used[RACK] <= racks - split and used[EIGHTS] <= 9 * split:
                best = max(best, trays)
        assert found[split] == best


def test_whole_racks_take_more_racks_than_a_mixture() -> None:
    small = [Gang(8)] * 9 + [Gang(72, whole=True)]
    assert racks_needed(small, (RACK,)) == 10
    assert racks_needed(small, (RACK, EIGHTS)) == 2


@pytest.mark.parametrize("name", CUTS)
def test_every_gang_that_is_granted_has_a_place(name: str) -> None:
    for seed in range(3):
        lived = life(name, seed)
        assert lived.wrong == []
        assert lived.granted >= lived.placed > 0


def test_a_gang_without_a_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Layout({}, unseated=(Unseated("0-0", 0, 1, 0),))
    monkeypatch.setattr(domains, "lay_out", lambda *_: nowhere)
    assert "0-0 has no place" in life("HGX, whole nodes", 1).wrong
