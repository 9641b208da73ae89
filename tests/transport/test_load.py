"""What is taken on, what waits, and what is refused at once."""

from __future__ import annotations

import asyncio

import pytest

from broker.transport.load import Lane, Limits, Load
from broker.transport.pulse import Absence, Shares

LIMITS = Limits(
    running_least=4, running_max=4, urgent_more=1, heavy_max=2, waiting_max=8, burst_seconds=0.25, wait_seconds_max=0.25
)


class Clock:
    """Time that stands still."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def full(limits: Limits = LIMITS, clock: Clock | None = None) -> Load:
    """As much under way as may be; forty end in a second, as far as it knows."""
    load = Load(limits, clock or Clock(), lambda: 0.5)
    while load.enter(Lane.PLAIN, 1):
        pass
    return load


async def waiting(load: Load, lane: Lane, tenant: str, cost: int = 1) -> asyncio.Task[None]:
    """A call that waits already, or has its turn."""
    task = asyncio.create_task(load.turn(lane, cost, tenant))
    await asyncio.sleep(0)
    return task


async def served(load: Load, tasks: dict[str, asyncio.Task[None]], count: int) -> list[str]:
    """Who has a turn, one after the other, as calls end."""
    order: list[str] = []
    for _ in range(count):
        load.leave(Lane.PLAIN, 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        order += [name for name, task in tasks.items() if task.done() and name not in order]
    return order


async def test_what_there_is_room_for_enters_at_once_and_the_rest_waits() -> None:
    load = full()
    assert load.running == 4
    task = await waiting(load, Lane.PLAIN, "a")
    assert not task.done()
    load.leave(Lane.PLAIN, 1)
    await task
    assert (load.running, load.waiting(Lane.PLAIN)) == (4, 0)


async def test_heavy_calls_leave_room_for_plain_ones() -> None:
    load = Load(LIMITS, Clock())
    assert load.enter(Lane.HEAVY, 2)
    assert not load.enter(Lane.HEAVY, 1)
    assert load.enter(Lane.PLAIN, 1)
    heavy = await waiting(load, Lane.HEAVY, "a")
    plain = await waiting(load, Lane.PLAIN, "a")
    assert plain.done()
    assert not heavy.done()
    load.leave(Lane.HEAVY, 2)
    await heavy


async def test_a_heavy_call_has_its_turn_however_many_plain_ones_wait() -> None:
    load = full(Limits(running_least=32, running_max=32))
    plain = [await waiting(load, Lane.PLAIN, "a") for _ in range(8)]
    heavy = await waiting(load, Lane.HEAVY, "b", 8)
    for _ in range(32):
        load.leave(Lane.PLAIN, 1)
        plain.append(await waiting(load, Lane.PLAIN, "a"))  # as fast as they end
    assert heavy.done()
    for task in plain:
        task.cancel()
    await asyncio.gather(*plain, return_exceptions=True)


async def test_tenants_have_their_turns_one_after_the_other() -> None:
    load = full()
    tasks = {f"b{n}": await waiting(load, Lane.PLAIN, "b") for n in range(5)}
    tasks["a0"] = await waiting(load, Lane.PLAIN, "a")
    assert (await served(load, tasks, 6))[:2] == ["b0", "a0"]


async def test_who_floods_is_refused_and_others_are_not() -> None:
    load = full(Limits(running_least=4, running_max=4, burst_seconds=0.25, waiting_max=100))
    for _ in range(10):  # a quarter of a second at forty a second
        assert load.refused(Lane.PLAIN, 1, "b", 9) is None
        await waiting(load, Lane.PLAIN, "b")
    await waiting(load, Lane.PLAIN, "b")
    assert load.refused(Lane.PLAIN, 1, "b", 9) is not None
    assert load.refused(Lane.PLAIN, 1, "a", 9) is None
    assert load.shed[Lane.PLAIN] == 1


async def test_a_renewal_is_served_before_a_claim_that_came_first_and_claims_have_turns_too() -> None:
    load = full(Limits(running_least=4, running_max=4, urgent_more=0, in_a_row=3))
    tasks = {f"claim{n}": await waiting(load, Lane.PLAIN, "a") for n in range(2)}
    tasks |= {f"renewal{n}": await waiting(load, Lane.URGENT, "a") for n in range(5)}
    assert await served(load, tasks, 7) == [
        *("renewal0", "renewal1", "renewal2", "claim0", "renewal3", "renewal4", "claim1"),
    ]


@pytest.mark.parametrize("renewals", [0, 5, 12, 50, 400])
async def test_a_renewal_is_never_refused_where_a_claim_would_not_be(renewals: int) -> None:
    load = full(Limits(running_least=4, running_max=4, burst_seconds=0.25, waiting_max=1_000))
    for _ in range(renewals):
        await waiting(load, Lane.URGENT, "a")
    for seconds_left in (0.0, 0.15, 0.3, 1.0, 30.0):
        renewal = load.refused(Lane.URGENT, 1, "a", seconds_left)
        claim = load.refused(Lane.PLAIN, 1, "b", seconds_left)
        assert renewal is None or claim is not None
    if renewals == 400:  # ten seconds' worth
        assert load.refused(Lane.URGENT, 1, "a", 30.0) is None
        assert load.refused(Lane.PLAIN, 1, "b", 30.0) is not None


async def test_a_call_whose_deadline_would_pass_meanwhile_is_refused_at_once() -> None:
    load = full()
    for _ in range(4):
        await waiting(load, Lane.PLAIN, "a")
    assert load.refused(Lane.PLAIN, 1, "a", 0.15) is not None  # a tenth for those under way, a tenth for who waits
    assert load.refused(Lane.PLAIN, 1, "a", 0.3) is None


async def test_a_burst_may_wait_longer_than_a_crowd_that_stays() -> None:
    clock = Clock()
    load = full(Limits(running_least=4, running_max=4, burst_seconds=1.0, wait_seconds_max=0.25), clock)
    for _ in range(20):  # half a second at forty a second
        assert load.refused(Lane.PLAIN, 1, "a", 9) is None
        await waiting(load, Lane.PLAIN, "a")
    for _ in range(12):
        clock.now += 0.1
        for _ in range(4):
            load.leave(Lane.PLAIN, 1)
            await waiting(load, Lane.PLAIN, "a")
    assert load.refused(Lane.PLAIN, 1, "a", 9) is not None
    assert load.refused(Lane.PLAIN, 1, "b", 9) is None


async def test_who_is_cancelled_while_it_waits_leaves_no_trace() -> None:
    load = full()
    gone = await waiting(load, Lane.PLAIN, "a")
    stays = await waiting(load, Lane.PLAIN, "a")
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    load.leave(Lane.PLAIN, 1)
    await stays
    # And who is cancelled in the moment that its turn comes gives it back.
    late = await waiting(load, Lane.PLAIN, "a")
    load.leave(Lane.PLAIN, 1)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    for _ in range(3):
        load.leave(Lane.PLAIN, 1)
    assert (load.running, load.waiting(Lane.PLAIN)) == (0, 0)


async def test_the_room_follows_what_ends_in_a_tenth_of_a_second() -> None:
    clock = Clock()
    load = full(Limits(running_least=8, running_max=64), clock)
    assert load.running == 64
    tasks = [await waiting(load, Lane.PLAIN, "a")]
    for _ in range(20):  # 100 a second
        clock.now += 0.1
        for _ in range(10):
            load.leave(Lane.PLAIN, 1)
            tasks.append(await waiting(load, Lane.PLAIN, "a"))
        load.refused(Lane.PLAIN, 1, "a", 9)
    assert 8 <= load.running <= 12
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def late(load: Load, clock: Clock, lag: float, asks: dict[str, int], *, seconds: float) -> dict[str, int]:
    """How many calls a second each may make of as many as it asks for, in the last second, while calls are so late."""
    taken: dict[str, int] = {}
    for beat in range(round(10 * seconds)):
        if beat % 10 == 0:
            taken = dict.fromkeys(asks, 0)
        for who, rate in asks.items():
            calls = [load.unread(Lane.PLAIN, lambda who=who: who) for _ in range(rate // 10)]  # type: ignore[misc]
            taken[who] += sum(refused is None for refused in calls)
        clock.now += 0.1
        load.beat(lag)
    return taken


ASKS = {"little": 10, "much": 1_000}


def test_while_calls_come_late_who_asks_for_little_has_it() -> None:
    clock = Clock()
    load = Load(clock=clock)
    assert late(load, clock, 0.01, ASKS, seconds=1) == ASKS
    found = late(load, clock, 0.5, ASKS, seconds=8)
    assert found["little"] == 10
    assert found["much"] < 400
    assert late(load, clock, 0.01, ASKS, seconds=3) == ASKS


def test_renewals_are_never_turned_away_for_being_late() -> None:
    clock = Clock()
    load = Load(clock=clock)
    late(load, clock, 0.9, {"much": 1_000}, seconds=4)
    assert all(load.unread(Lane.URGENT, lambda: "much") is None for _ in range(1_000))
    assert all(load.unfair(Lane.URGENT, "much") is None for _ in range(1_000))


def test_a_tenant_has_its_share_however_many_connections_it_uses() -> None:
    clock = Clock()
    load = Load(clock=clock)
    for _ in range(40):
        told = {who: [load.unfair(Lane.PLAIN, who) for _ in range(count // 10)] for who, count in ASKS.items()}
        clock.now += 0.1
        load.beat(0.5)
    assert told["little"] == [None]
    assert None in told["much"]
    assert any(told["much"])


def test_who_is_refused_stays_away_until_refusing_costs_little_beside_answering() -> None:
    clock = Clock()
    load = Load(clock=clock, spread=lambda: 0.5)

    def pause() -> float:
        return max(filter(None, (load.unread(Lane.PLAIN, lambda: "much") for _ in range(2_000))))

    late(load, clock, 0.5, ASKS, seconds=1)
    soon = pause()
    late(load, clock, 0.5, ASKS, seconds=20)
    assert soon < pause() <= Absence.MOST, "nobody stays away"
    for _ in range(30):
        load.leave(Lane.PLAIN, 1_000)
        load.beat(0.5)
    assert load.absence.seconds < soon, "nobody comes who must be refused, and many are answered"
    late(load, clock, 0.01, ASKS, seconds=20)
    assert load.absence.seconds == Absence.LEAST, "all is well again"


def test_who_asks_for_little_is_not_asked_to_stay_away_for_long() -> None:
    clock = Clock()
    load = Load(clock=clock, spread=lambda: 0.5)
    asks = {"little": 200, "much": 4_000}
    late(load, clock, 0.9, asks, seconds=5)
    pauses = {
        who: max(filter(None, (load.unread(Lane.PLAIN, lambda who=who: who) for _ in range(1_000))))  # type: ignore[misc]
        for who in asks
    }
    assert pauses["little"] < Absence.LEAST < Absence.FIRST < pauses["much"]


def test_one_stall_is_no_sign() -> None:
    clock = Clock()
    load = Load(clock=clock)
    for _ in range(4):
        assert late(load, clock, 0.01, ASKS, seconds=1) == ASKS
        assert late(load, clock, 0.9, ASKS, seconds=0.1) == {"little": 1, "much": 100}


def test_without_overload_nobody_is_asked_to_stay_away_for_long() -> None:
    clock = Clock()
    load = Load(LIMITS, clock, lambda: 0.5)
    late(load, clock, 0.0, {}, seconds=5)
    while load.enter(Lane.PLAIN, 1):
        pass
    for lane in Lane:
        refused = [load.refused(lane, 1, "atlas", 0.0) for _ in range(10)]
        assert max(filter(None, refused)) < 0.5, lane


def test_what_is_counted_of_callers_is_bounded() -> None:
    load = Load(clock=Clock())
    for n in range(2 * Shares.NAMES_MAX):
        load.unread(Lane.PLAIN, lambda n=n: f"{n}" * 100)  # type: ignore[misc]
    assert len(load.by_peer._came) <= Shares.NAMES_MAX + 1
    assert max(map(len, load.by_peer._came)) <= Shares.NAME_MAX


async def test_a_full_line_refuses_what_nobody_has_read_but_who_asks_for_little_is_read() -> None:
    clock = Clock()
    load = full(LIMITS, clock)
    for _ in range(5):  # so that it is known who asks how often
        for who in (*["more"] * 20, *["most"] * 20, "little"):
            load.by_peer.take(who)
        clock.now += 0.1
        load.beat(0.0)
    assert load.unread(Lane.PLAIN, lambda: "most") is None
    tasks = [await waiting(load, Lane.PLAIN, "a") for _ in range(10)]  # a quarter of a second at forty a second
    assert load.unread(Lane.PLAIN, lambda: "most") is not None
    assert load.unread(Lane.PLAIN, lambda: "little") is None
    assert load.unread(Lane.URGENT, lambda: "most") is None
    assert load.shed[Lane.PLAIN] == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_call_is_told_how_late_it_is_because_of_what_its_tenant_asks_for() -> None:
    clock = Clock()
    load = Load(LIMITS, clock)
    for _ in range(5):
        for who in (*["much"] * 20, "little"):
            load.by_tenant.take(who)
        clock.now += 0.1
        load.beat(0.0)
    assert load.late("much", 0.0) == 0.0
    assert load.late("much", 0.04) == pytest.approx(0.04)
    load.beat(0.2)
    assert load.late("much", 0.04) == pytest.approx(0.04 + 0.2)
    assert load.late("little", 0.04) == 0.0, "others are why"
