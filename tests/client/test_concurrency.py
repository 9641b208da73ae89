"""As many calls under way as the broker answers without a queue, whatever was asked of the client."""

from __future__ import annotations

import threading
from heapq import heappop, heappush
from itertools import count
from random import Random
from statistics import median

import grpc
import pytest
from capacitybroker import Claim, Client, NotFound, ResourceExhausted, Unavailable
from capacitybroker._concurrency import ConcurrencyLimit
from capacitybroker._retry import Patience, Time
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import planning_service_pb2 as planning

from tests.client.broker_double import Script, answer, overloaded, refuse, serving, unavailable
from tests.client.fake_time import FakeTime, TopOfRange
from tests.client.test_holding import until

CREATED = capacity.CreateClaimResponse(claim=Claim(name="tenants/lab/claims/one"))
BASE = 0.005  # seconds that an answer takes when nobody waits


def filled(limit: ConcurrencyLimit) -> int:
    """How many calls it lets begin now."""
    entered = 0
    while limit.enter(0.0):
        entered += 1
    return entered


def a_round(limit: ConcurrencyLimit, seconds: float, *, at: float = 0.0) -> int:
    """As many calls as there is room for, all answered after so long; how many they were."""
    under_way = filled(limit)
    for _ in range(under_way):
        limit.answered("Get", seconds - BASE, at, at + seconds)
    for _ in range(under_way):
        limit.leave()
    return under_way


def test_it_doubles_while_answers_are_quick_and_only_as_far_as_it_is_used() -> None:
    limit = ConcurrencyLimit()
    assert [a_round(limit, BASE) for _ in range(5)] == [4, 8, 16, 32, 64]
    idle = ConcurrencyLimit()
    for _ in range(1000):
        assert idle.enter(0.0)
        idle.answered("Get", 0.0, 0.0, BASE)
        idle.leave()
    assert filled(idle) <= ConcurrencyLimit.FIRST


class Busy:
    """A broker that answers one call after the other, and clients that always have another one for it."""

    PACE = 2_000  # calls a second

    def __init__(self, clients: int) -> None:
        self.clients = [ConcurrencyLimit() for _ in range(clients)]
        self.due: list[tuple[float, int, int, float | None]] = []  # moment, number, client, began: None is to be sent
        self.free = 0.0
        self.waits: list[tuple[float, float]] = []  # moment, and what a call waited that had its answer then
        self.numbers = count()

    def run(self, seconds: float) -> None:
        """From the first call on; what a client does costs it no time."""
        for client in range(len(self.clients)):
            self._go_on(client, 0.0)
        while self.due and self.due[0][0] < seconds:
            now, _, client, began = heappop(self.due)
            if began is None:
                self.free = max(self.free, now) + 1 / self.PACE
                heappush(self.due, (self.free + BASE, next(self.numbers), client, now))
            else:
                self.waits.append((now, now - began - BASE))
                self.clients[client].answered("Get", now - began - BASE, began, now)
                self.clients[client].leave()
                self._go_on(client, now)

    def _go_on(self, client: int, now: float) -> None:
        limit = self.clients[client]
        while limit.enter(0.0):
            heappush(self.due, (now + limit.pause(now), next(self.numbers), client, None))


@pytest.mark.parametrize("clients", [5, 20, 100, 400])
def test_however_many_clients_keep_a_queue_of_about_the_target_and_no_idle_broker(clients: int) -> None:
    busy = Busy(clients)
    busy.run(20.0)
    late = [waited for now, waited in busy.waits if now >= 10.0]
    assert len(late) > 0.95 * 10 * busy.PACE
    assert 0.4 * ConcurrencyLimit.TARGET_SECONDS < median(late) < 1.6 * ConcurrencyLimit.TARGET_SECONDS


def test_below_one_the_only_call_is_followed_by_a_pause() -> None:
    limit = ConcurrencyLimit()
    limit.most = 1.0
    assert limit.enter(0.0)
    limit.refused(began=10.0, now=11.0)  # half of the time
    limit.leave()
    assert limit.enter(0.0)
    assert not limit.enter(0.0)
    assert limit.pause(11.0) == pytest.approx(1.0)
    assert limit.pause(13.0) == 0.0
    for began in range(20, 200, 20):
        limit.refused(began=began, now=began + 10.0)  # a broker that hung
    assert limit.pause(190.0) <= 1.0, "it may be well again"


def test_a_client_sends_its_only_call_after_the_pause_or_not_at_all() -> None:
    time = FakeTime()
    script = Script(GetClaim=[answer(capacity.GetClaimResponse())], RunPlan=[answer(planning.RunPlanResponse())])
    patience = Patience("broker", Time(time.monotonic, time.sleep, TopOfRange()))
    with serving(script) as address, Client(address, tenant="lab") as client:
        client._patience = patience
        patience.limit.most = 1.0
        patience.limit.refused(time.now - 0.75, time.now)
        with pytest.raises(ResourceExhausted) as refused:
            client.get_claim("one", timeout=0.5)
        assert refused.value.reason == "OVERLOADED"
        assert script.requests == []
        client.run_plan()  # takes long by nature
        assert time.pauses == []
        client.get_claim("one", timeout=3.0)
        assert time.pauses == [pytest.approx(0.75)]


@pytest.mark.parametrize("told", [0, 500])
def test_a_client_goes_by_how_late_the_broker_says_it_is(told: int) -> None:
    time = FakeTime()

    def slow(_request: object, context: grpc.ServicerContext) -> capacity.GetClaimResponse:
        time.now += 1.0
        if told:
            context.set_trailing_metadata((("capacitybroker-late-ms", str(told)),))
        return capacity.GetClaimResponse()

    patience = Patience("broker", Time(time.monotonic, time.sleep, TopOfRange()))
    with serving(Script(GetClaim=[slow])) as address, Client(address, tenant="lab") as client:
        client._patience = patience
        for _ in range(20):
            client.get_claim("one", timeout=60.0)
    assert patience.limit.most >= ConcurrencyLimit.FIRST if not told else patience.limit.most < 1.0


def test_a_call_that_has_waited_is_not_sent_with_less_time_than_answers_take() -> None:
    time = FakeTime()

    def slow(_request: object, _context: grpc.ServicerContext) -> capacity.GetClaimResponse:
        time.now += 1.0
        return capacity.GetClaimResponse()

    script = Script(GetClaim=[slow])
    patience = Patience("broker", Time(time.monotonic, time.sleep, TopOfRange()))
    with serving(script) as address, Client(address, tenant="lab") as client:
        client._patience = patience
        client.get_claim("one", timeout=60.0)
        patience.limit.most = 1.0
        patience.limit.refused(time.now - 0.5, time.now)  # half a second's pause
        with pytest.raises(ResourceExhausted) as refused:
            client.get_claim("one", timeout=1.4)
        assert refused.value.reason == "OVERLOADED"
        assert len(script.requests) == 1
        client.get_claim("one", timeout=4.0)
        client.get_claim("one", timeout=0.1)  # nobody waits: who has little time may try
        assert len(script.requests) == 3


def test_an_answer_that_something_is_not_there_is_followed_by_a_pause_too() -> None:
    time = FakeTime()

    def absent(request: object, context: grpc.ServicerContext) -> object:
        time.now += 0.5
        return refuse(grpc.StatusCode.NOT_FOUND, "NOT_FOUND")(request, context)

    patience = Patience("broker", Time(time.monotonic, time.sleep, TopOfRange()))
    with serving(Script(GetClaim=[absent])) as address, Client(address, tenant="lab") as client:
        client._patience = patience
        patience.limit.most = 0.5
        for _ in range(3):
            with pytest.raises(NotFound):
                client.get_claim("one", timeout=60.0)
    assert time.pauses == [pytest.approx(0.5)] * 2


def test_what_may_have_had_its_effect_is_not_said_to_be_unsent() -> None:
    time = FakeTime()
    script = Script(CreateClaim=[unavailable()])
    patience = Patience("broker", Time(time.monotonic, time.sleep, TopOfRange()))
    with serving(script) as address, Client(address, tenant="lab") as client:
        client._patience = patience
        patience.limit.most = 1.0

        def lost(request: object, context: grpc.ServicerContext) -> object:
            patience.limit.refused(time.now - 30.0, time.now)  # somebody else's: a pause
            patience.quiet.until = time.now + 60.0
            return unavailable()(request, context)

        script.steps["CreateClaim"] = [lost]
        with pytest.raises(Unavailable):
            client.create_claim(Claim(devices=8), timeout=10.0)


def test_how_long_an_answer_takes_lowers_nothing() -> None:
    limit = ConcurrencyLimit()
    a_round(limit, BASE)
    before = limit.most
    for seconds in (0.003, 2.0) * 50:  # an empty list, and a long one; or a broker that is far away
        limit.enter(0.0)
        limit.answered("List", 0.0, 0.0, seconds)
        limit.leave()
    assert limit.most >= before


def test_a_refusal_halves_it_once_for_all_that_were_under_way() -> None:
    limit = ConcurrencyLimit()
    for _ in range(3):
        a_round(limit, BASE)
    for now in (10.0, 10.1, 10.2):
        limit.refused(began=9.0, now=now)
    assert filled(limit) == 16
    limit.refused(began=11.0, now=11.1)
    assert limit.most == 8
    for began in range(12, 30):
        limit.refused(began=began, now=began + 0.5)
    assert limit.most == ConcurrencyLimit.LEAST


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_there_is_room_for_one_call(seed: int) -> None:
    limit, rng = ConcurrencyLimit(), Random(seed)
    for moment in range(2_000):
        if limit.enter(0.0):
            if rng.random() < 0.3:
                limit.refused(moment, moment + rng.random())
            else:
                limit.answered("Get", rng.expovariate(5.0), moment, moment + rng.expovariate(5.0))
            limit.leave()
        assert limit.most >= ConcurrencyLimit.LEAST
    assert limit.enter(0.0)


def test_calls_beyond_it_wait_in_the_client_and_those_that_hold_a_lease_do_not() -> None:
    inside, leave = threading.Semaphore(0), threading.Event()

    def slow(_request: object, _context: grpc.ServicerContext) -> capacity.CreateClaimResponse:
        inside.release()
        leave.wait(30)
        return CREATED

    script = Script(CreateClaim=[slow], RunPlan=[answer(planning.RunPlanResponse())])
    with serving(script, threads=8) as address, Client(address, tenant="lab", timeout=20.0) as client:
        threads = [threading.Thread(target=client.create_claim, args=(Claim(devices=8),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(int(ConcurrencyLimit.FIRST)):
            assert inside.acquire(timeout=10)
        with pytest.raises(ResourceExhausted) as refused:
            client.create_claim(Claim(devices=8), timeout=0.05)
        assert refused.value.reason == "OVERLOADED"
        assert len(script.requests) == ConcurrencyLimit.FIRST
        client.run_plan()  # takes long by nature: it waits for nobody, and nobody for it
        leave.set()
        for thread in threads:
            thread.join(20)
        assert len(script.requests) == 7


def test_who_waits_has_a_place_before_those_who_come_back_for_another() -> None:
    limit, order = ConcurrencyLimit(), list[int]()
    limit.most = 1.0
    assert limit.enter(0.0)

    def wait(n: int) -> None:
        assert limit.enter(20.0)
        order.append(n)
        limit.leave()

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(4)]
    for n, thread in enumerate(threads):
        thread.start()
        until(lambda n=n: len(limit._tickets) == n + 1)  # type: ignore[misc]
    limit.leave()
    assert order or not limit.enter(0.0), "it overtook who waits"
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, 3]
    assert limit.enter(0.0)


def test_who_gives_up_waiting_leaves_its_place_to_others() -> None:
    limit = ConcurrencyLimit()
    limit.most = 1.0
    assert limit.enter(0.0)
    assert not limit.enter(0.01)
    limit.leave()
    assert limit.enter(0.0)


@pytest.mark.parametrize("had", [False, True])
def test_who_is_interrupted_while_it_waits_keeps_no_place(monkeypatch: pytest.MonkeyPatch, *, had: bool) -> None:
    limit = ConcurrencyLimit()
    limit.most = 1.0
    assert limit.enter(0.0)

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if had:
                limit.leave()
            raise KeyboardInterrupt(timeout)

    monkeypatch.setattr(threading, "Event", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        limit.enter(20.0)
    if not had:
        limit.leave()
    assert filled(limit) == 1


def test_who_waits_for_a_place_stays_away_like_others_once_one_was_asked_to() -> None:
    inside, leave = threading.Semaphore(0), threading.Event()

    def slow(request: object, context: grpc.ServicerContext) -> object:
        inside.release()
        leave.wait(30)
        return overloaded(30.0)(request, context)

    script = Script(CreateClaim=[slow])
    with serving(script, threads=8) as address, Client(address, tenant="lab", timeout=20.0) as client:

        def ask() -> None:
            with pytest.raises(ResourceExhausted):
                client.create_claim(Claim(devices=8))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for _ in range(int(ConcurrencyLimit.FIRST)):
            assert inside.acquire(timeout=10)
        leave.set()
        for thread in threads:
            thread.join(20)
        assert len(script.requests) == ConcurrencyLimit.FIRST


def test_who_was_refused_sends_less_at_once() -> None:
    script = Script(CreateClaim=[overloaded(0.0), answer(CREATED)])
    with serving(script) as address, Client(address, tenant="lab", timeout=20.0) as client:
        client.create_claim(Claim(devices=8))
        assert client._patience.limit.most < ConcurrencyLimit.FIRST
