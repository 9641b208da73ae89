"""What could be had, kept aside and taken; why a claim waits, and the way round."""

from __future__ import annotations

import asyncio
import json
import shlex

import grpc
import pytest
from capacitybroker import (
    TIER_GUARANTEED,
    TIER_SPOT,
    TIER_STANDARD,
    Change,
    Claim,
    ExplainClaimResponse,
    Holder,
    Offer,
    Past,
    Preemption,
    QuoteClaimResponse,
    Reason,
    ReasonDetail,
    RedeemQuoteResponse,
    SiliconChoice,
    Wall,
    duration,
    timestamp,
)
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_service_pb2 as fleets
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.cli.line import typed
from broker.cli.offers import given_way, in_a_phrase
from broker.cli.promises import Promises
from broker.cli.wall import wall_lines
from tests.cli.messages import at, claim, placement, pool
from tests.client.broker_double import Script, answer, refuse, serving
from tests.transport import calls
from tests.world import until, world

LINE = ("quote", "64", "--for", "36h", "--tenant", "lab")
ASKED = Claim(workload_class="training", devices=64, gang=True, duration=duration(hours=36), tier=TIER_STANDARD)


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_ADDRESS", "BROKER_TENANT"):
        monkeypatch.delenv(name, raising=False)


def run(script: Script, *arguments: str) -> Result:
    with serving(script) as address:
        return CliRunner().invoke(app, [*arguments, "--address", address])


def offer(pool_id: str, *changes: Change, asked: Claim = ASKED) -> Offer:
    place = placement(pool_id, asked.devices, 5, 41)
    return Offer(
        claim=asked,
        placements=[place],
        changes=changes,
        cost_microusd=1_000_000_000,
        paid_microusd=200_000_000,
        price_microusd=30_000_000,
        start_time=place.start_time,
        latest_start_time=place.latest_start_time,
    )


def held() -> Claim:
    found = claim("lab/xyz", placement("dc-a", 64, 5, 41), state=Claim.STATE_HELD)
    found.hold_expire_time.CopyFrom(timestamp(at(1)))
    return found


def test_a_quote_is_a_table_of_offers_with_their_prices() -> None:
    script = Script(QuoteClaim=[answer(QuoteClaimResponse(offers=[offer("dc-a"), offer("dc-b")]))])
    result = run(script, *LINE)
    assert result.exit_code == 0
    (request,) = script.requests
    assert (request.parent, request.claim.devices, request.claim.gang) == ("tenants/lab", 64, True)
    assert not request.HasField("hold_for")
    lines = result.stdout.splitlines()
    assert lines[2].split()[:4] == ["1", "dc-a", "64", "gb200"]
    assert lines[2].split()[-4:] == ["$1,000", "$200", "$1,200", "$1,030"]  # new, paid, list, marginal
    assert lines[4] == "Keep the first aside: broker quote 64 --for 36h --tenant lab --hold 10m"


def test_a_quote_that_is_held_names_the_line_that_takes_it() -> None:
    script = Script(QuoteClaim=[answer(QuoteClaimResponse(offers=[offer("dc-a")], held=held()))])
    result = run(script, *LINE, "--hold", "10m", "--id", "xyz")
    (request,) = script.requests
    assert (request.hold_for.seconds, request.claim_id) == (600, "xyz")
    assert len(request.request_id) > 8
    assert "Held until Mon 23 Nov 01:00 UTC: 64 in dc-a, Mon 23 Nov 05:00 to" in result.stdout
    assert result.stdout.splitlines()[-1] == "Take it: broker redeem lab/xyz"
    assert "aside" not in result.stdout


def test_where_nothing_fits_each_counter_offer_says_how_it_gives_way() -> None:
    fewer = Claim(workload_class="training", devices=60, gang=True, duration=duration(hours=36), tier=TIER_STANDARD)
    changes = (Change(kind=Change.KIND_FEWER_DEVICES, amount=4), Change(kind=Change.KIND_OTHER_SILICON, amount=1))
    found = QuoteClaimResponse(
        counter_offers=[offer("dc-a", *changes, asked=fewer), offer("dc-b", Change(kind=Change.KIND_LATER, amount=3))]
    )
    shown = run(Script(QuoteClaim=[answer(found)]), *LINE).stdout
    assert "Nothing fits as it was asked" in shown
    assert "4 devices fewer and any silicon" in shown
    assert "3 h later" in shown
    assert shown.splitlines()[-1].endswith("broker claim 60 --for 36h --tenant lab")


def test_where_nothing_helps_that_is_said() -> None:
    result = run(Script(QuoteClaim=[answer(QuoteClaimResponse())]), *LINE)
    assert result.exit_code == 0
    assert result.stdout == "Nothing fits as it was asked, and no change was found that would help.\n"


@pytest.mark.parametrize(
    ("kind", "amount", "phrase"),
    [
        (Change.KIND_LATER, 3, "3 h later"),
        (Change.KIND_LATER, 54, "2 d 6 h later"),
        (Change.KIND_FEWER_DEVICES, 1, "1 device fewer"),
        (Change.KIND_SHORTER, 2, "2 h shorter"),
        (Change.KIND_OTHER_SILICON, 1, "any silicon"),
        (Change.KIND_OTHER_POOLS, 1, "any pool"),
        (Change.KIND_SMALLER_DOMAINS, 1, "any NVLink domains"),
        (Change.KIND_MORE_VALUE, 12_345_000_000, "$12.3k more"),
        (Change.KIND_MORE_VALUE, 500_000, "$0.50 more"),
        (Change.KIND_HIGHER_TIER, 2, "2 tiers up"),
        (Change.KIND_ON_LOAN, 1, "on loan"),
        (Change.KIND_WITHIN_QUOTA, 1, "within the quota"),
    ],
)
def test_changes_in_plain_phrases(kind: Change.Kind.ValueType, amount: int, phrase: str) -> None:
    assert in_a_phrase(Change(kind=kind, amount=amount)) == phrase
    assert given_way([]) == ""


def test_the_line_for_a_claim_asks_for_that_claim() -> None:
    wanted = Claim(
        workload_class="inference",
        devices=0,
        gang=False,
        silicon=[SiliconChoice(silicon="gb300", devices=8), SiliconChoice(silicon="mtia-400", devices=16)],
        min_domain_devices=72,
        min_devices=4,
        max_devices=32,
        whole_domains=True,
        duration=duration(hours=30),
        earliest_start_time=timestamp(at(1)),
        latest_start_time=timestamp(at(30)),
        deadline=timestamp(at(90)),
        preferred_pools=["pools/dc-a"],
        forbidden_pools=["pools/dc-b", "pools/dc-c"],
        tier=TIER_SPOT,
        value_microusd=1_250_500_000,
        labels={"note": "it's two words"},
        preemption=Preemption(
            min_run=duration(hours=3), notice=duration(hours=2), checkpoint_interval=duration(hours=1)
        ),
        on_loan=True,
    )
    script = Script(CreateClaim=[answer(capacity.CreateClaimResponse(claim=claim("lab/one", why="no")))])
    _, *arguments = shlex.split(typed("claim", wanted, tenant="lab"))
    assert run(script, *arguments).exit_code == 0
    assert script.requests[0].claim == wanted
    wanted.silicon[0].duration.CopyFrom(duration(hours=3))
    assert typed("claim", wanted, tenant="lab") == ""


def test_a_quote_in_time_is_redeemed() -> None:
    mine = claim("lab/xyz", placement("dc-a", 64, 5, 41), state=Claim.STATE_COMMITTED)
    script = Script(RedeemQuote=[answer(RedeemQuoteResponse(claim=mine))])
    shown = run(script, "redeem", "xyz", "--tenant", "lab").stdout
    assert script.requests[0].name == "tenants/lab/claims/xyz"
    assert shown.startswith("lab/xyz is yours, as it was quoted.\n")
    assert "gets    64 gb200 in dc-a" in shown
    assert json.loads(run(script, "redeem", "lab/xyz", "-o", "json").stdout)["claim"]["name"] == mine.name


@pytest.mark.parametrize("name", ["lab/xyz", "tenants/lab/claims/xyz"])
def test_a_quote_that_has_lapsed_is_answered_with_fresh_offers(name: str) -> None:
    lapsed = answer(RedeemQuoteResponse(offers=[offer("dc-b")]))
    result = run(Script(RedeemQuote=[lapsed]), "redeem", name)
    assert result.exit_code == 1, "what runs after it would run without capacity"
    shown = result.stdout
    assert shown.startswith("The quote lab/xyz has lapsed.\n")
    assert "dc-b" in shown
    assert shown.splitlines()[-1].endswith("broker quote 64 --for 36h --tenant lab --hold 10m")


def test_what_was_never_held_is_refused() -> None:
    step = refuse(grpc.StatusCode.FAILED_PRECONDITION, "NOT_HELD", "The claim is not held", remedy="Read the claim.")
    result = run(Script(RedeemQuote=[step]), "redeem", "lab/one")
    assert result.exit_code == 1
    assert "[NOT_HELD]" in result.stderr


def explained(*, quota: int | None = None) -> ExplainClaimResponse:
    wall = Wall(
        reason=Reason.REASON_QUOTA_REACHED if quota is not None else Reason.REASON_NO_CONTIGUOUS_ROOM,
        pool="pools/dc-a",
        start_time=timestamp(at(0)),
        end_time=timestamp(at(4)),
        needed_devices=64,
        free_devices=16,
        quota_free_devices=quota,
    )
    return ExplainClaimResponse(
        claim=claim("lab/two", why="No start has 64 devices free."),
        reason=ReasonDetail(reason=Reason.REASON_OUTBID, message="No start has 64 devices free."),
        walls=[wall, Wall(reason=Reason.REASON_ROOM_KEPT, pool="pools/dc-b", needed_devices=64, free_devices=64)],
        holders=[
            Holder(claim="tenants/lab/claims/one", tier=TIER_GUARANTEED, devices=60, end_time=timestamp(at(4))),
            Holder(tier=TIER_SPOT, pool="pools/dc-a", devices=24, end_time=timestamp(at(9))),
        ],
        changes=[Change(kind=Change.KIND_LATER, amount=3)],
        offer=offer("dc-a", Change(kind=Change.KIND_LATER, amount=3)),
        past=[Past(state=Claim.STATE_WAITING, reason=Reason.REASON_AWAITING_PLAN, state_time=timestamp(at(0)))],
    )


def test_a_claim_that_never_fitted_is_told_what_to_ask_for_ways_round() -> None:
    gone = claim("lab/two", state=Claim.STATE_EXPIRED, why="However early it started, it would end after its deadline.")
    found = ExplainClaimResponse(
        claim=gone, reason=ReasonDetail(message="However early it started, it would end late.")
    )
    shown = run(Script(ExplainClaim=[answer(found)]), "explain", "lab/two").stdout
    assert shown.splitlines()[-1].startswith("What could be had instead: broker quote 64 ")


def explaining(found: ExplainClaimResponse) -> Script:
    status = pool("dc-a", (0, 100, 84), (2, 100, 100), (3, 100, 84), (4, 100, 0))
    return Script(ExplainClaim=[answer(found)], GetPool=[answer(fleets.GetPoolResponse(pool=status))])


def test_an_explanation_is_a_sentence_a_picture_and_the_way_round() -> None:
    script = explaining(explained())
    lines = run(script, "explain", "lab/two").stdout.splitlines()
    assert [request.name for request in script.requests] == ["tenants/lab/claims/two", "pools/dc-a"]
    assert lines[0] == "lab/two is waiting because: No start has 64 devices free."
    hour = 10  # blocks
    assert lines[2] == f"  needed  {'█' * 4 * hour}{' ' * hour}  64 devices"
    assert lines[3] == f"  free    {'▂' * 2 * hour}{'·' * hour}{'▂' * hour}{'█' * hour}  16 at least"
    assert lines[4].split() == ["Mon", "23", "Nov", "00:00", "Mon", "23", "Nov", "05:00"]
    assert len(lines[4]) == len("  needed  ") + 5 * hour
    assert "  holds   another tenant: 24 until Mon 23 Nov 09:00 (spot)" in lines
    assert "  also    dc-b: room kept, 64 of 64 devices" in lines
    assert "  before  waiting (awaiting plan) since Mon 23 Nov 00:00" in lines
    assert "What would let it in: 3 h later" in (line.rstrip() for line in lines)
    assert "Ask for that instead: broker claim 64 --for 36h --tenant lab" in lines
    assert lines[-1].strip() == "broker cancel lab/two"


def test_a_wall_of_quota_and_one_of_money() -> None:
    shown = run(explaining(explained(quota=3)), "explain", "lab/two").stdout
    assert f"  quota   {'▁' * 40}{' ' * 10}  3 left at least" in shown
    wall = explained().walls[0]
    wall.free_devices, wall.value_microusd, wall.price_microusd = 64, 10**9, 2 * 10**9
    assert any("worth $1,000 to you" in line and "a price of $2,000" in line for line in wall_lines(wall, [], []))


def test_a_long_wall_still_fits_the_screen() -> None:
    wall = explained().walls[0]
    wall.end_time.CopyFrom(timestamp(at(26 * 7 * 24)))
    levels = [(int(at(0).timestamp()), 16), (int(at(90).timestamp()), 5_000)]
    assert max(map(len, wall_lines(wall, levels, []))) <= 80


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (claim("lab/one", placement("dc-a", 64, 5, 41)), "lab/one is planned: nothing stands in its way."),
        (held(), "lab/xyz is held to 01:00: nothing stands in its way."),
        (claim("lab/one", state=Claim.STATE_CANCELLED), "lab/one is cancelled: there is nothing to explain."),
    ],
)
def test_what_is_served_needs_no_explanation(found: Claim, says: str) -> None:
    script = Script(ExplainClaim=[answer(ExplainClaimResponse(claim=found))])
    assert run(script, "explain", found.name).stdout == f"{says}\n"


def test_room_that_appeared_meanwhile_and_no_way_round() -> None:
    found = explained()
    found.ClearField("walls")
    found.ClearField("changes")
    assert "There is room for it now; the next plan decides" in run(explaining(found), "explain", "lab/two").stdout
    stuck = explained()
    stuck.ClearField("offer")
    assert "No change of the claim was found" in run(explaining(stuck), "explain", "lab/two").stdout


def test_json_is_the_answer_of_the_api() -> None:
    script = explaining(explained())
    script.steps["QuoteClaim"] = [answer(QuoteClaimResponse(offers=[offer("dc-a")], revision=7))]
    assert json.loads(run(script, *LINE, "-o", "json").stdout)["offers"][0]["price_microusd"] == "30000000"
    assert json.loads(run(script, "explain", "lab/two", "-o", "json").stdout)["changes"] == [
        {"kind": "KIND_LATER", "amount": "3"}
    ]


def test_what_is_held_is_listed_and_shown_with_its_end() -> None:
    script = Script(
        ListClaims=[answer(capacity.ListClaimsResponse(claims=[held()]))],
        GetClaim=[answer(capacity.GetClaimResponse(claim=held()))],
    )
    assert "held to 01:00" in run(script, "claims", "--state", "held").stdout
    assert "held since Mon 23 Nov 00:00 until Mon 23 Nov 01:00" in run(script, "show", "lab/xyz").stdout


def test_a_quote_that_lapses_breaks_no_promise() -> None:
    promises = Promises()
    promises.observe(held())
    promises.observe(claim("lab/xyz", state=Claim.STATE_EXPIRED))
    assert promises.broken == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("quote 8 --for 1d", "which tenant"),
        ("quote -8 --for 1d --tenant lab", "no number of devices"),
        ("quote 8 --for 1d --tenant lab --hold 16m", "15 minutes"),
        ("quote 8 --for 1d --tenant lab --hold soon", "write 10m or 90s"),
        ("redeem one", "whose claim"),
        ("explain one", "whose claim"),
    ],
)
def test_a_wrong_command_line_is_status_2(arguments: str, says: str) -> None:
    result = run(Script(), *arguments.split())
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


async def test_quoted_held_redeemed_and_explained_by_a_real_broker() -> None:
    async with world(serve=True, at_once=True) as made:
        declared = fleets.ApplyFleetRequest(fleet=calls.fleet(), request_id="f")
        await made.fleet.ApplyFleet(declared)
        await until(lambda: made.feed.outlook.fleet.pools)

        async def told(line: str) -> str:
            result = await asyncio.to_thread(CliRunner().invoke, app, [*line.split(), "--address", made.address])
            assert result.exit_code == 0, result.output
            await until(lambda: made.feed.revision == made.ledger._market.revision)
            return result.stdout

        quoted = await told("quote 60 --for 4h --tenant atlas --tier guaranteed --hold 10m --id big")
        assert quoted.endswith("Take it: broker redeem atlas/big\n")
        assert "atlas/big is yours" in await told("redeem atlas/big")
        small = "8 --for 4h --tenant atlas --by 2024-10-04T13:00Z --tier guaranteed"
        assert "4 devices fewer" in await told(f"quote {small}")
        await told(f"claim {small} --id small --wait 0")
        why = await told("explain atlas/small")
        assert "holds   atlas/big: 60 until Fri 04 Oct 16:00 (guaranteed)" in why
        assert "What would let it in:" in why
