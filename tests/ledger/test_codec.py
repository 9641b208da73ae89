"""What is written is read back equal, by this release and by the one before."""

import json
from dataclasses import replace

import pytest

from broker.domain.claim import (
    Cancelled,
    Committed,
    Displaced,
    DomainSpan,
    Ended,
    Expired,
    Planned,
    Preemption,
    SiliconChoice,
    State,
    Waiting,
)
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import CommittedLevel, Contract, Delivery, Maintenance, PoolKind
from broker.domain.insurance import Insurance, LossKind
from broker.domain.plan import LossCost, PoolPrice, PoolRoom
from broker.domain.reason import Because, Reason
from broker.domain.slots import Window
from broker.domain.snapshot import Event, EventKind, Shortfall
from broker.ledger import codec
from tests.builders import claim, fleet, placement, plan, pool

WHY = (Because(Reason.OUTBID, "others pay more", {"pool": "dc-1"}),)
PLACES = (
    placement(latest=9, silicon="b200", cost_microusd=2**63 - 1, paid_microusd=-1, left_ppm=250_000),
    placement(part=1),
)
FIXED = (placement(domains=(DomainSpan(0, 7, 64), DomainSpan(9, 1, 8))), placement(part=1))
STATES: list[State] = [
    Waiting(WHY),
    Planned(PLACES, WHY),
    Committed(PLACES),
    Committed(FIXED),
    Displaced(WHY),
    Ended(PLACES),
    Cancelled(),
    Expired(WHY),
]
RICH = claim(
    devices=7,
    min_devices=1,
    max_devices=2**40 + 7,
    value_microusd=2**63 - 1,
    gang=True,
    whole_domains=True,
    min_domain_devices=8,
    latest=0,
    deadline=5,
    silicon=(SiliconChoice("b200", 8), SiliconChoice("mtia", 16, 9)),
    preferred_pools=("dc-1",),
    forbidden_pools=("dc-2",),
    labels={"ключ": "значение \u2028 \n"},
    preemption=Preemption(min_run=2, notice=3, checkpoint=4),
    on_loan=True,
)
RICH = replace(RICH, ran=(placement(left_ppm=999_999), placement(first=9, end=10, left_ppm=1)))
FLEET = replace(
    fleet(
        (
            pool(maintenance=(Maintenance(8, 0, 3600),), deliveries=(Delivery(8), Delivery(-4, 99))),
            pool("cw", kind=PoolKind.CONTRACTED),
            pool("racks", domain_devices=72, tray_devices=4, spare_trays=2, slice_trays=8),
        ),
        loans={"atlas": 0},
    ),
    contracts=(Contract("c-1", "cw", "CW", (CommittedLevel(8), CommittedLevel(16, 7200)), 1, 2),),
    insurance=(
        Insurance("any", LossKind.ANY_ONE_POOL),
        Insurance("late", LossKind.LATE_DELIVERY, ("dc-1",), 3, ("cw",)),
    ),
)
COST = LossCost("any", ("dc-1", "cw"), 1, 2**62, hit=3, insured=2, uninsurable=1)
PLAN = plan(reasons={"OUTBID": 3}, prices=(PoolPrice("dc-1", 1, 2**62),), insurance=(COST,), revision=5, skipped=2)
MOVED = replace(PLAN, rooms=(PoolRoom("dc-1", 1, 10**6, 2_500, 0),), defragmented=2)


@pytest.mark.parametrize("state", STATES, ids=lambda state: type(state).__name__)
def test_claims(state: State) -> None:
    written = replace(RICH, state=state, revision=7)
    assert codec.decode_claim(codec.encode_claim(written), revision=9) == replace(written, revision=9, replaced=7)
    assert "\n" not in codec.encode_claim(written)


def test_what_a_claim_ran_and_on_which_domains() -> None:
    run = placement(end=2, left_ppm=5, domains=(DomainSpan(3, 1, 8),))
    written = replace(RICH, state=Planned(PLACES), revision=7, ran=(placement(end=1, left_ppm=9), run))
    assert codec.decode_claim(codec.encode_claim(written), revision=9) == replace(written, revision=9, replaced=7)
    assert "ran_domains" not in json.loads(codec.encode_claim(replace(written, ran=written.ran[:1])))


def test_fleets_plans_and_shortfalls() -> None:
    assert codec.decode_fleet(codec.encode_fleet(FLEET)) == FLEET
    assert codec.decode_plan(codec.encode_plan(PLAN), revision=5, skipped=2) == PLAN
    assert codec.decode_plan(codec.encode_plan(MOVED), revision=5, skipped=2) == MOVED
    short = (Shortfall("pools/dc-1", Window(1, 2), 3),)
    assert codec.decode_shortfalls(codec.encode_shortfalls(short)) == short


def test_events() -> None:
    event = Event(
        5, EventKind.PLANNED, 9, (replace(RICH, revision=5),), FLEET, (Shortfall("a", Window(1, 2), 3),), PLAN, 30
    )
    assert codec.decode_event(codec.encode_event(event)) == event
    bare = Event(5, EventKind.PLAN_ASKED, 9)
    assert codec.decode_event(codec.encode_event(bare)) == bare


def test_what_a_later_release_adds_is_ignored() -> None:
    record = json.loads(codec.encode_claim(replace(RICH, state=Planned(PLACES, WHY))))
    record["new"] = record["ask"]["new"] = {"x": 1}
    record["placements"][0].append("new")
    record["because"][0].append("new")
    record["domains"] = [[[0, 7, 64, "new"]], []]
    record["ask"]["silicon"][0].append("new")
    assert codec.decode_claim(json.dumps(record), revision=0) == replace(
        RICH, state=Planned((replace(PLACES[0], domains=(DomainSpan(0, 7, 64),)), PLACES[1]), WHY)
    )


@pytest.mark.parametrize("text", ['{"v":2}', "{", "{}", '{"v":1,"tenant":"a"}', "[]", "null"])
def test_what_cannot_be_read_stops_the_broker(text: str) -> None:
    with pytest.raises(Fault) as refused:
        codec.decode_claim(text, revision=1)
    assert refused.value.reason is FaultReason.SAFE_HALT


def test_the_stored_form_of_a_claim_is_pinned() -> None:
    assert codec.encode_claim(claim(state=Planned((placement(),)))) == (
        '{"v":1,"tenant":"atlas","id":"run-1","created_at":0,"ask":{"class":"training","devices":8,"slots":4,'
        '"earliest":0,"tier":"STANDARD","value_microusd":1000000},"state":"PLANNED","state_at":0,'
        '"placements":[["dc-1",8,0,4,0,0,"",0,0]]}'
    )
