"""Two searches at once: the books are exact when they join, and nobody can tell who was faster."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser import sides
from broker.optimiser.check import check
from broker.optimiser.construct import settle
from broker.optimiser.problem import Ints
from broker.optimiser.sides import Outcome, improve_sides
from broker.optimiser.state import Calendar
from broker.optimiser.tables import PLENTY, plan_of
from tests.optimiser.market import Market, assert_exact, crowded_with_promises, market

Document = dict[str, Any]


@pytest.fixture(scope="module")
def priced(crowd: Callable[..., Document]) -> Market:
    return market(crowd(11))


def improved(world: Market, c: Calendar, rng: np.random.Generator, heat: float = 200.0, tries: int = 600) -> Outcome:
    return improve_sides(world.t, c, world.g, world.wishes, heat, tries, rng)


def test_what_both_did_fits_and_is_worth_what_they_say(priced: Market) -> None:
    calendar, total = priced.greedy()
    rng = np.random.default_rng(2)
    rounds = 0
    for heat in (300.0, 100.0, 0.0, 0.0):
        done = improved(priced, calendar, rng, heat)
        assert_exact(priced.problem, priced.t, calendar)
        assert priced.judged(done.best_row, done.best_start) == total + done.best_gained
        assert done.best_gained >= max(0, done.gained)
        total += done.gained
        assert priced.judged(calendar.row, calendar.start) == total
        assert done.tried >= 2 * 600
        rounds += done.rounds
    assert rounds > 0


def test_a_stretch_can_be_ended_early(priced: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "SLICE", 100)
    calendar, total = priced.greedy()
    rng, asked = np.random.default_rng(2), count(1)
    done = improve_sides(priced.t, calendar, priced.g, priced.wishes, 100.0, 10**9, rng, enough=lambda: next(asked) > 6)
    assert 0 < done.tried < 6 * 300
    assert_exact(priced.problem, priced.t, calendar)
    assert priced.judged(calendar.row, calendar.start) == total + done.gained


@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
def test_nobody_can_tell_how_a_stretch_was_cut(size: int, priced: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = []
    for cut in (size, 600):
        monkeypatch.setattr(sides, "SLICE", cut)
        calendar, _ = priced.greedy()
        improved(priced, calendar, np.random.default_rng(2))
        plans.append((calendar.row.tolist(), calendar.start.tolist()))
    assert plans[0] == plans[1]


def test_both_sides_move_and_together_they_gain(priced: Market) -> None:
    calendar, _ = priced.greedy()
    before = calendar.row.copy()
    rng = np.random.default_rng(2)
    assert sum(improved(priced, calendar, rng, 0.0, 2_000).gained for _ in range(4)) > 0
    changed = before != calendar.row
    touched = np.union1d(priced.t.pool[before[changed & (before >= 0)]], priced.t.pool[calendar.row[changed]])
    assert len(np.unique(touched)) > 1


def test_promises_are_kept_and_counted(crowd: Callable[..., Document]) -> None:
    world = market(crowded_with_promises(crowd(5, requests=90)))
    t, rng = world.t, np.random.default_rng(3)
    calendar, _ = settle(t, t.now_row, t.now_start)
    kept = begun = int(t.promised[calendar.row >= 0].sum())
    for heat in (2_000.0, 500.0, 0.0, 0.0):
        done = improved(world, calendar, rng, heat)
        now, best = (int(t.promised[row >= 0].sum()) for row in (calendar.row, done.best_row))
        assert kept <= now == kept + done.kept
        assert now <= best == kept + done.best_kept
        assert_exact(world.problem, t, calendar)
        kept = now
    assert kept > begun


class Later:
    """A thread that starts only when somebody waits for it."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Later:
        self._work = (work, arguments)
        return self

    def result(self) -> Any:
        work, arguments = self._work
        return work(*arguments)


class AtOnce:
    """A thread that is done before anybody else begins."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        return done


def test_the_same_seed_gives_the_same_plan_whoever_is_faster(priced: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(seed: int = 7) -> tuple[Ints, ...]:
        calendar, _ = priced.greedy()
        rng = np.random.default_rng(seed)
        done = [improved(priced, calendar, rng) for _ in range(3)][-1]
        counts = np.array([done.gained, done.best_gained, done.kept, done.rounds, done.tried])
        return (*calendar, done.best_row, done.best_start, counts)

    together = [run() for _ in range(3)]
    another = run(seed=8)
    for order in (Later(), AtOnce()):
        monkeypatch.setattr(sides, "second_thread", lambda order=order: order)
        together.append(run())
    for other in together[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(together[0], other, strict=True))
    assert not np.array_equal(together[0][3], another[3])


def test_one_pool_is_one_side(crowd: Callable[..., Document]) -> None:
    document = crowd(3, pools=1)
    document["reserves"] = []
    world = market(document)
    calendar, total = world.greedy()
    done = improved(world, calendar, np.random.default_rng(1))
    assert_exact(world.problem, world.t, calendar)
    assert world.judged(calendar.row, calendar.start) == total + done.gained
    assert world.judged(done.best_row, done.best_start) == total + done.best_gained
    assert done.rounds > 0


def test_a_market_without_a_single_column_is_left_as_it_is() -> None:
    option = {"pool": "a", "devices": 2, "slots": 2, "start": [0, 0], "value": 3}
    document = {"format": "capacity-plan-problem/1", "slots": 2, "requests": [{"id": "r", "options": [option]}]}
    world = market(document | {"pools": [{"id": name, "capacity": [[0, 1]]} for name in "ab"]}, steps=1)
    calendar, _ = world.greedy()
    done = improved(world, calendar, np.random.default_rng(1), tries=20)
    assert (done.gained, done.best_gained, done.best_row.tolist()) == (0, 0, [-1])


@given(seed=st.integers(0, 10**9), heat=st.sampled_from([0.0, 30.0]))
@settings(deadline=None, max_examples=50)
def test_small_markets_of_every_kind(seed: int, heat: float, tiny: Callable[[int], Document]) -> None:
    world = market(tiny(seed), steps=2)
    t, rng = world.t, np.random.default_rng(seed)
    calendar, total = settle(t, t.now_row, t.now_start)
    for _ in range(3):
        done = improved(world, calendar, rng, heat, 20)
        assert_exact(world.problem, t, calendar)
        ends = ((calendar.row, calendar.start, done.gained), (done.best_row, done.best_start, done.best_gained))
        for row, start, gained in ends:
            verdict = check(world.problem, plan_of(world.problem, world.pruned, row, start))
            assert all("promised" in line for line in verdict.violations)
            assert verdict.objective == total + gained - t.move.sum()
        total += done.gained


def test_a_gang_gets_all_that_its_quota_has_left() -> None:
    """Dealt in two, the quota would never hold the gang on either side."""
    option = {"slots": 2, "start": [0, 0], "devices": 4}
    document = {
        "format": "capacity-plan-problem/1",
        "slots": 2,
        "pools": [{"id": name, "capacity": [[0, 4]]} for name in "ab"],
        "quotas": [{"id": "q", "limit": [[0, 4]]}],
        "requests": [{"id": "gang", "quota": "q", "options": [option | {"pool": "b", "value": 500}]}],
    }
    world = market(document, steps=1)
    calendar, rng = settle(world.t, np.array([-1]), np.zeros(1, np.int64))[0], np.random.default_rng(1)
    for _ in range(40):
        improved(world, calendar, rng, 0.0, 20)
        assert_exact(world.problem, world.t, calendar)
    assert calendar.row.tolist() == [0]


def test_what_nobody_limits_is_plenty_on_both_sides(crowd: Callable[..., Document]) -> None:
    world = market(crowd(11))
    calendar, _ = world.greedy()
    rng = np.random.default_rng(3)
    for _ in range(8):
        halves = sides._halves(world.t, calendar, rng)
        for half in halves:
            assert (half.room[-1] > PLENTY // 4).all()
            assert (half.spare[world.t.cover >= PLENTY] > PLENTY // 4).all()
            given = [bool(row.any()) for row in np.where(world.t.cover < PLENTY, half.spare, 0) if row.size]
            assert len(set(given)) <= 1
        assert np.array_equal(halves[0].room + halves[1].room, calendar.room)
        assert np.array_equal(halves[0].spare + halves[1].spare, calendar.spare)
