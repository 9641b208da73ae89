"""How values read, and tables that stay tables when nobody is at a terminal."""

from __future__ import annotations

import io

import pytest
from capacitybroker import Claim, Plan, Reason, SiliconChoice
from capacitybroker.v1.fleet_pb2 import POOL_KIND_CUSTOM_SILICON, PoolKind
from capacitybroker.v1.plan_pb2 import PoolPrice, PoolRoom, ReasonCount
from google.protobuf.json_format import ParseDict
from rich.console import Console

from broker.cli.facts import in_words
from broker.cli.show import dollars, hours, short, word
from broker.cli.tables import claim_lines, claims_table, plan_lines, pools_table
from tests.cli.messages import at, claim, placement, pool


@pytest.mark.parametrize(
    ("microusd", "text"),
    [
        (0, "$0"),
        (950_000_000, "$950"),
        (9_999_000_000, "$9,999"),
        (12_345_000_000, "$12.3k"),
        (4_560_000_000_000, "$4.56m"),
        (21_000_000_000_000_000, "$21.00bn"),
        (-12_345_000_000, "-$12.3k"),
    ],
)
def test_money(microusd: int, text: str) -> None:
    assert dollars(microusd) == text


def test_words_and_lengths() -> None:
    assert [hours(n) for n in (1, 47, 48, 336, 341)] == ["1h", "47h", "2d", "14d", "14d 5h"]
    assert short("tenants/lab/claims/one") == "lab/one"
    assert short("pools/dc-a") == "dc-a"
    assert word(Reason, Reason.REASON_NO_ELIGIBLE_POOL) == "no eligible pool"
    assert word(PoolKind, POOL_KIND_CUSTOM_SILICON) == "custom silicon"
    assert word(Claim.State, Claim.STATE_WAITING) == "waiting"


def test_what_only_a_newer_broker_knows_is_shown_as_its_number() -> None:
    assert word(Reason, 99) == "#99"
    odd = ParseDict({"state": 77, "tier": 88, "reasons": [{"reason": 99}]}, Claim(name="tenants/lab/claims/odd"))
    assert rendered(claims_table([odd]))[1].split()[:3] == ["lab/odd", "#77", "#88"]
    assert "why     #99" in "\n".join(claim_lines(odd))


def test_who_gives_way_reads_until_when_for_whom_and_what_is_left() -> None:
    facts = {
        "pool": "pools/dc-a",
        "by_tier": "GUARANTEED,STANDARD",
        "by": "tenants/lab/claims/one",
        "end_unix_seconds": "1728000000",
        "left_ppm": "791667",
        "times": "1",
        "times_most": "2",
    }
    assert in_words(facts) == (
        "in dc-a; ends Fri 04 Oct 00:00 for lab/one (guaranteed and standard), 79.2 % are left, time 1 of 2"
    )
    run = placement("a", 8, 0, 5)
    run.left_ppm = 250_000
    text = "\n".join(claim_lines(Claim(name="tenants/lab/claims/one", runs=[run])))
    assert "ran     8" in text
    assert "25.0 % were left" in text


def rendered(table: object) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=250, no_color=True, highlight=False, markup=False).print(table)
    return out.getvalue().splitlines()


def test_a_claims_table_has_one_line_for_each_placement() -> None:
    split = claim("lab/split", placement("a", 10, 0, 5), placement("b", 20, 0, 5), placement("b", 20, 0, 5))
    lines = rendered(claims_table([split, claim("lab/waits", why="a reason [with brackets] that is long " * 3)]))
    assert len(lines) == 4
    assert "split" in lines[1]
    assert "planned" in lines[1]
    assert lines[2].split()[0] == "40"
    assert "[with brackets]" in lines[3]
    assert len({line.index("Mon 23 Nov 00:00") for line in lines[1:3]}) == 1


def test_a_narrow_screen_gets_fewer_columns_and_still_one_line_a_row() -> None:
    claims = [claim("lab/one", placement("a", 10, 0, 5)), claim("lab/waits", why="a long reason " * 20)]
    wide, narrow = rendered(claims_table(claims)), rendered(claims_table(claims, width=100))
    assert len(wide) == len(narrow) == 3
    assert max(len(line.rstrip()) for line in narrow) <= 100
    assert {"WORK", "TIER"} <= set(wide[0].split())
    assert not {"WORK", "TIER"} & set(narrow[0].split())
    assert "POOL" in narrow[0]
    waiting = rendered(claims_table(claims[1:]))
    assert "POOL" not in waiting[0]


def test_80_columns_never_cut_a_claim_or_its_state() -> None:
    name = "inference-prod/a-claim-with-a-long-name"
    claims = [
        claim(name, placement("contract-1", 4608, 0, 5), state=Claim.STATE_COMMITTED),
        claim("lab/waits", why="a long reason " * 20),
    ]
    lines = rendered(claims_table(claims, width=80))
    assert lines[1].split()[:2] == [name, "committed"]
    assert lines[2].split()[:4] == ["lab/waits", "waiting", "a", "long"]
    pools = rendered(pools_table([pool("contract-1", (0, 9_999, 9), paid=7)], width=80))
    assert {"POOL", "DEVICES", "FREE"} <= set(pools[0].split())
    assert max(len(line.rstrip()) for line in [*lines, *pools]) <= 80


def test_facts_are_told_in_words() -> None:
    facts = {
        "needed_devices": "4608",
        "free_devices": "2380",
        "value_microusd": "9290000000000",
        "price_microusd": "9331286625103",
        "start_unix_seconds": str(int(at(17).timestamp())),
        "pool": "pools/contract-1",
    }
    assert in_words(facts) == (
        "needs 4,608 devices, 2,380 free at best; worth $9.29m against a price of $9.33m;"
        " at Mon 23 Nov 17:00 in contract-1"
    )
    lost = {
        "pool": "pools/dc-a",
        "from_unix_seconds": "1764223200",
        "until_unix_seconds": "1764309600",
        "new_pool": "pools/dc-b",
        "new_start_unix_seconds": "1764226800",
    }
    assert in_words(lost) == (
        "in dc-a; short from Thu 27 Nov 06:00 to Fri 28 Nov 06:00; now in dc-b from Thu 27 Nov 07:00"
    )
    assert in_words({"new_fact": "odd"}) == "new fact odd"
    assert in_words({}) == ""


def test_one_claim_in_full() -> None:
    message = claim("lab/one", placement("a", 64, 5, 10, latest=9), why="outbid in part")
    message.silicon.append(SiliconChoice(silicon="mtia-400", devices=1024))
    message.gang, message.whole_domains, message.labels["team"] = True, True, "x"
    text = "\n".join(claim_lines(message))
    assert "1,024 mtia-400, gang, whole domains, for 36h" in text
    assert "start may move to Mon 23 Nov 09:00" in text
    assert "outbid: outbid in part" in text
    assert "team=x" in text


def test_pools_and_plan() -> None:
    lines = rendered(pools_table([pool("dc-a", (0, 100, 20), (5, 100, 30)), pool("contract-1", (0, 9, 9), paid=7)]))
    assert lines[1].split()[:7] == ["dc-a", "internal", "gb200", "72", "100", "30", "25"]
    assert lines[1].split()[8] == "70"  # free at least
    assert "contracted" in lines[2]
    assert " 7 " in lines[2]
    plan = Plan(
        name="plans/9",
        status=Plan.STATUS_FEASIBLE,
        objective_microusd=10**12,
        bound_microusd=2 * 10**12,
        gap_percent=50.0,
        claims=3,
        placed=2,
        reasons=[ReasonCount(reason=Reason.REASON_OUTBID, claims=1)],
        prices=[PoolPrice(pool="pools/dc-a", mean_microusd=20_000, peak_microusd=2_000_000), PoolPrice(pool="pools/b")],
    )
    text = "\n".join(plan_lines(plan))
    assert "2 of 3 claims hold capacity" in text
    assert "$1.00m" in text
    assert "gap 50.00 %" in text
    assert "1 because: outbid" in text
    assert "dc-a: one more device-hour is worth $0.02 on average, $2.00 at the peak" in text
    assert "price    b" not in text


def test_room_for_whole_domains_and_what_moves_did_for_it() -> None:
    room = PoolRoom(pool="pools/a", before_percent=20, after_percent=30, week_domains_before=2.25, week_domains_after=3)
    idle = Plan(name="plans/9", rooms=[room])
    assert "room     a: 3.0 whole domains stay free for a week on average, open room 30.0 %" in "\n".join(
        plan_lines(idle)
    )
    some = "\n".join(plan_lines(Plan(name="plans/9", rooms=[room], defragmented=2)))
    assert "2 placements moved so that whole domains stay free" in some
    assert "a: 2.2 -> 3.0 whole domains stay free for a week on average, open room 20.0 % -> 30.0 %" in some


def test_every_state_has_a_word() -> None:
    assert all(word(Claim.State, state)[0] != "#" for state in Claim.State.values())
