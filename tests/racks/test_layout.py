"""What fits by count is placed, whole and for good, whatever came before and whatever comes later."""

from __future__ import annotations

import random
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.slots import Steps, Window
from broker.racks.check import violations
from broker.racks.layout import Room, Stay, Unseated, lay_out

SLOTS = 40


def room(domains: int, per_domain: int = 1, away: Steps | None = None) -> Room:
    return Room(per_domain, Steps.level(domains * per_domain), away or Steps.level(0))


def stay(key: str, first: int, end: int, slices: int = 1, **seats: int) -> Stay:
    """``d3=2`` is two slices of domain 3."""
    return Stay(key, Window(first, end), slices, {int(name[1:]): n for name, n in seats.items()})


def test_what_has_started_stays_where_it_is() -> None:
    here = [stay("a", 0, 9, 2, d1=1, d3=1), stay("b", 5, 9, 2)]
    found = lay_out(room(4), here, now=2)
    assert found.seats == {"a": {1: 1, 3: 1}, "b": {0: 1, 2: 1}}
    assert found.displaced == frozenset()


def test_domains_are_free_again_when_a_stay_ends() -> None:
    found = lay_out(room(1), [stay("b", 5, 9), stay("a", 0, 5)], now=0)
    assert found.seats == {"a": {0: 1}, "b": {0: 1}}


def test_what_is_over_is_no_part_of_it() -> None:
    assert lay_out(room(1), [stay("a", 0, 5, d0=1)], now=5).seats == {}


def test_small_stays_share_a_domain_so_that_others_stay_whole() -> None:
    found = lay_out(room(3, per_domain=9), [stay("a", 0, 9, 4, d1=4), stay("b", 1, 9, 5), stay("c", 2, 9, 18)], now=0)
    assert found.seats["b"] == {1: 5}
    assert found.seats["c"] == {0: 9, 2: 9}


def test_a_large_stay_is_on_as_few_domains_as_can_be() -> None:
    found = lay_out(room(4, per_domain=9), [stay("a", 0, 9, 7, d0=7), stay("b", 1, 9, 20)], now=0)
    assert found.seats["b"] == {1: 9, 2: 9, 0: 2}


def test_who_does_not_fit_is_named_with_what_is_free() -> None:
    found = lay_out(room(3), [stay("a", 0, 9, 2, d0=1, d1=1), stay("b", 4, 6, 2), stay("c", 5, 6)], now=0)
    assert found.unseated == (Unseated("b", 4, 2, 1),)
    assert found.seats["c"] == {2: 1}, "others are not kept waiting"


def test_a_domain_that_is_gone_displaces_who_was_on_it() -> None:
    found = lay_out(room(2), [stay("a", 0, 9, d5=1), stay("b", 0, 9, d0=1)], now=3)
    assert found.displaced == {"a"}
    assert found.seats == {"a": {1: 1}, "b": {0: 1}}


def test_two_that_claim_the_same_slice_are_told_apart() -> None:
    found = lay_out(room(2), [stay("b", 0, 9, d0=1), stay("a", 0, 9, d0=1)], now=3)
    assert found.seats == {"a": {0: 1}, "b": {1: 1}}
    assert found.displaced == {"b"}


def test_nobody_is_put_where_something_is_away() -> None:
    away = Steps(((0, 0), (4, 2), (8, 0)))
    found = lay_out(room(3, away=away), [stay("a", 0, 9, d2=1), stay("b", 8, 9, 2)], now=0)
    assert found.unseated == ()
    crowded = lay_out(room(3, away=away), [stay("a", 0, 9, d2=1), stay("b", 7, 9)], now=0)
    assert crowded.unseated == (Unseated("b", 7, 1, 0),)


def test_who_was_displaced_comes_before_who_had_no_domain_yet() -> None:
    found = lay_out(room(2), [stay("a", 0, 9), stay("b", 0, 9, d0=1), stay("lost", 0, 9, d5=1)], now=3)
    assert found.seats == {"b": {0: 1}, "lost": {1: 1}}
    assert [out.key for out in found.unseated] == ["a"]


def test_what_is_away_is_of_the_highest_domains_and_comes_back_whole() -> None:
    away = Steps(((0, 1), (2, 2), (4, 0)))
    found = lay_out(room(3, away=away), [stay("a", 0, 2, 2), stay("b", 2, 4), stay("c", 4, 9, 3)], now=0)
    assert found.seats == {"a": {0: 1, 1: 1}, "b": {0: 1}, "c": {0: 1, 1: 1, 2: 1}}


def test_what_is_away_comes_back_in_part() -> None:
    away = Steps(((0, 5), (4, 2)))
    found = lay_out(room(2, per_domain=3, away=away), [stay("a", 0, 9), stay("b", 4, 9, 3)], now=0)
    assert found.seats == {"a": {0: 1}, "b": {0: 2, 1: 1}}


def test_slices_that_arrive_fill_the_last_domain_first() -> None:
    grows = Room(9, Steps(((0, 4), (5, 20))), Steps.level(0))
    found = lay_out(grows, [stay("a", 0, 9, 4), stay("b", 5, 9, 16)], now=0)
    assert found.seats == {"a": {0: 4}, "b": {1: 9, 0: 5, 2: 2}}


def online(seed: int) -> None:
    """A pool's life: stays are granted by count only, and withdrawn; what has started is fixed sooner or later."""
    draw = random.Random(seed)
    per_domain = draw.choice([1, 1, 2, 9])
    most = per_domain * draw.randint(1, 6)
    late, back = draw.randint(0, 20), draw.randint(21, 30)
    ever = Steps(tuple(sorted({0: draw.randint(0, most), late + 1: most}.items())))
    gone = draw.randint(0, most)
    away = Steps(((0, 0), (late + 2, gone), (back + 2, 0)))
    pool = Room(per_domain, ever, away)
    free = [ever.at(slot) - away.at(slot) for slot in range(SLOTS)]
    live: dict[str, Stay] = {}
    for now in range(SLOTS - 1):
        for n in range(draw.randint(0, 3)):
            first = draw.randint(now, min(now + 8, SLOTS - 2))
            end = min(SLOTS, first + draw.choice([1, 2, 5, 20]))
            asked = stay(f"{now}-{n}", first, end, draw.randint(1, most))
            if all(free[slot] >= asked.slices for slot in range(first, end)):
                live[asked.key] = asked
                free[first:end] = [n - asked.slices for n in free[first:end]]
        if live and draw.random() < 0.3:
            gone_early = live.pop(draw.choice(sorted(live)))
            first = max(now, gone_early.window.first)
            free[first : gone_early.window.end] = [n + gone_early.slices for n in free[first : gone_early.window.end]]
        live = {key: held for key, held in live.items() if held.window.end > now}
        found = lay_out(pool, live.values(), now)
        assert (found.unseated, found.displaced) == ((), frozenset())
        assert violations(pool, live.values(), found, now) == ()
        for key, held in live.items():
            if held.window.first <= now and not held.seats and draw.random() < 0.8:
                live[key] = held._replace(seats=found.seats[key])


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_was_granted_by_count_always_has_a_place(seed: int) -> None:
    online(seed)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_more_than_fits_is_no_crash_and_every_place_given_is_right(seed: int) -> None:
    draw = random.Random(seed)
    pool = room(draw.randint(1, 4), draw.choice([1, 3]), Steps(((0, 0), (draw.randint(1, 9), draw.randint(0, 4)))))
    stays = []
    for n in range(draw.randint(0, 12)):
        first = draw.randint(0, 9)
        fixed = {draw.randint(0, 6): 1} if first <= 4 and draw.random() < 0.5 else {}
        slices = 1 if fixed else draw.randint(1, 4)
        stays.append(Stay(str(n), Window(first, first + draw.randint(1, 9)), slices, fixed))
    found = lay_out(pool, stays, 4)
    assert violations(pool, stays, found, 4) == ()
    assert found.seats.keys() | {gone.key for gone in found.unseated} == {s.key for s in stays if s.window.end > 4}
    assert lay_out(pool, reversed(stays), 4) == found, "in whatever order they are named"


WHOLE, HALF = 2, 1


def mixed(stays: list[tuple[int, int, int]], domains: int) -> bool:
    """Brute force: whether whole domains and halves of them (first, end, size) can share domains of two halves."""
    for where in product(range(domains), repeat=len(stays)):
        used = [[0] * SLOTS for _ in range(domains)]
        for (first, end, size), domain in zip(stays, where, strict=True):
            for slot in range(first, end):
                used[domain][slot] += size
        if max(max(slots) for slots in used) <= WHOLE:
            return True
    return False


def test_why_slices_must_be_alike() -> None:
    """Halves and wholes in one pool fit by count in every slot, and have no place in fact: see `docs/domains.md`."""
    early, late = (0, 1, WHOLE), (3, 4, WHOLE)
    halves = [(0, 5, HALF), (0, 3, HALF), (1, 3, HALF), (1, 5, HALF)]
    for slot in range(5):
        assert sum(size for first, end, size in (early, *halves, late) if first <= slot < end) <= 2 * WHOLE
    assert mixed([early, *halves], 2)
    assert mixed([*halves, late], 2)
    assert not mixed([early, *halves, late], 2)
