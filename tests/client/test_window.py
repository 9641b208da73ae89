"""As many calls under way as the broker answers without a queue, whatever was asked of the client."""

from __future__ import annotations

import threading
from random import Random

import grpc
import pytest
from capacitybroker import Claim, Client, ResourceExhausted
from capacitybroker._window import Window
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import planning_service_pb2 as planning

from tests.client.broker_double import Script, answer, overloaded, serving

CREATED = capacity.CreateClaimResponse(claim=Claim(name="tenants/lab/claims/one"))
BASE = 0.005  # seconds that an answer takes when nobody waits


def filled(window: Window) -> int:
    """How many calls it lets begin now."""
    count = 0
    while window.enter(0.0):
        count += 1
    return count


def a_round(window: Window, seconds: float, *, at: float = 0.0) -> int:
    """As many calls as there is room for, all answered after so long; how many they were."""
    count = filled(window)
    for _ in range(count):
        window.answered("Get", at, at + seconds)
    for _ in range(count):
        window.leave()
    return count


def test_it_doubles_while_answers_are_quick_and_only_as_far_as_it_is_used() -> None:
    window = Window()
    assert [a_round(window, BASE) for _ in range(5)] == [4, 8, 16, 32, 64]
    idle = Window()
    for _ in range(1000):
        assert idle.enter(0.0)
        idle.answered("Get", 0.0, BASE)
        idle.leave()
    assert filled(idle) <= Window.FIRST


def test_many_clients_together_keep_a_queue_of_about_the_target() -> None:
    """They are of one broker, which answers one call after the other."""
    clients, pace, queue = [Window() for _ in range(20)], 2_000, 0
    for window in clients:
        window.enter(0.0)
        window.answered("Get", 0.0, BASE)
        window.leave()
    for _ in range(400):
        queue = sum(filled(window) for window in clients)
        for window in clients:
            under_way = window._under_way
            for _ in range(under_way):
                window.answered("Get", 0.0, BASE + queue / pace)
            for _ in range(under_way):
                window.leave()
    assert 0.5 * Window.TARGET_SECONDS < queue / pace < 1.5 * Window.TARGET_SECONDS


def test_calls_that_are_slow_by_nature_close_nothing() -> None:
    window = Window()
    a_round(window, BASE)
    before = window.most
    for _ in range(50):
        window.enter(0.0)
        window.answered("Quote", 0.0, 2.0)
        window.leave()
    assert window.most >= before


def test_a_refusal_halves_it_once_for_all_that_were_under_way() -> None:
    window = Window()
    for _ in range(3):
        a_round(window, BASE)
    for now in (10.0, 10.1, 10.2):
        window.refused(began=9.0, now=now)
    assert filled(window) == 16
    window.refused(began=11.0, now=11.1)
    assert window.most == 8
    for began in range(12, 30):
        window.refused(began=began, now=began + 0.5)
    assert window.most == Window.LEAST


def test_what_was_quick_long_ago_is_forgotten() -> None:
    window, sizes = Window(), [a_round(Window(), BASE)]
    a_round(window, BASE)
    sizes += [a_round(window, 0.3, at=60.0 * minute) for minute in range(40)]  # the broker has moved
    assert sizes[15] < sizes[0]
    assert sizes[40] > sizes[15]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_there_is_room_for_one_call(seed: int) -> None:
    window, rng = Window(), Random(seed)
    for moment in range(2_000):
        if window.enter(0.0):
            if rng.random() < 0.3:
                window.refused(moment, moment + rng.random())
            else:
                window.answered("Get", moment, moment + rng.expovariate(5.0))
            window.leave()
        assert window.most >= Window.LEAST
    assert window.enter(0.0)


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
        for _ in range(int(Window.FIRST)):
            assert inside.acquire(timeout=10)
        with pytest.raises(ResourceExhausted) as refused:
            client.create_claim(Claim(devices=8), timeout=0.05)
        assert refused.value.reason == "OVERLOADED"
        assert len(script.requests) == Window.FIRST
        client.run_plan()  # takes long by nature: it waits for nobody, and nobody for it
        leave.set()
        for thread in threads:
            thread.join(20)
        assert len(script.requests) == 7


def test_who_was_refused_sends_less_at_once() -> None:
    script = Script(CreateClaim=[overloaded(0.0), answer(CREATED)])
    with serving(script) as address, Client(address, tenant="lab", timeout=20.0) as client:
        client.create_claim(Claim(devices=8))
        assert client._patience.window.most < Window.FIRST
