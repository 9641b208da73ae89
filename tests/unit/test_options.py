"""What eligibility, speed, rack shape and elasticity leave of a fleet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.claim import Ask, Placement, SiliconChoice
from broker.domain.fleet import Delivery, Fleet, Pool, PoolKind, Silicon, Tenant, WorkloadClass
from broker.domain.options import option_of, options, parts
from broker.domain.slots import Window
from tests.builders import ask


def fleet() -> Fleet:
    """HGX nodes, NVL72 racks twice as fast at training, and chips that can only rank, at half the speed."""
    return Fleet(
        silicon=(Silicon("b200", "blackwell"), Silicon("gb300", "blackwell"), Silicon("mtia-200", "mtia")),
        workload_classes=(
            WorkloadClass("training", {"b200": 100, "gb300": 200}),
            WorkloadClass("ranking", {"b200": 100, "mtia-200": 50}),
        ),
        pools=(
            Pool("hgx", PoolKind.INTERNAL, "b200", 8, (Delivery(4096),)),
            Pool("racks", PoolKind.INTERNAL, "gb300", 72, (Delivery(7200),)),
            Pool("chips", PoolKind.CUSTOM_SILICON, "mtia-200", 8, (Delivery(20_000),)),
        ),
        tenants=(Tenant("atlas"),),
    )


def ways(asked: Ask) -> dict[str, set[tuple[int, int]]]:
    """Devices and slots by pool."""
    out: dict[str, set[tuple[int, int]]] = {}
    for way in options(asked, fleet()):
        out.setdefault(way.pool, set()).add((way.devices, way.slots))
    return out


def gang(devices: int = 512, slots: int = 100, **fields: object) -> Ask:
    return ask(devices, slots, **{"gang": True, **fields})


def test_silicon_that_cannot_run_the_work_is_never_an_option() -> None:
    assert ways(gang()) == {"hgx": {(512, 100)}, "racks": {(512, 50)}}
    assert ways(gang(workload_class="ranking")) == {"hgx": {(512, 100)}, "chips": {(512, 200)}}
    assert ways(gang(workload_class="training", silicon=(SiliconChoice("mtia", 512),))) == {}


def test_a_choice_names_silicon_or_a_family_with_its_own_count_and_time() -> None:
    asked = gang(workload_class="ranking", silicon=(SiliconChoice("mtia", 1024, slots=120), SiliconChoice("b200", 512)))
    assert ways(asked) == {"chips": {(1024, 120)}, "hgx": {(512, 100)}}


def test_whole_domains_round_up_to_full_racks_and_nodes() -> None:
    assert ways(gang(500, whole_domains=True)) == {"hgx": {(504, 100)}, "racks": {(504, 50)}}
    assert ways(gang(512, whole_domains=True)) == {"hgx": {(512, 100)}, "racks": {(576, 50)}}


def test_whole_domains_take_no_more_than_they_must() -> None:
    assert ways(ask(72, 100, whole_domains=True)) == {"hgx": {(72, 100)}, "racks": {(72, 50)}}


def test_a_pool_in_slices_gives_whole_ones_only() -> None:
    racks = Pool("racks", PoolKind.INTERNAL, "gb300", 72, (Delivery(7200),), tray_devices=4, spare_trays=2)
    shared = replace(racks, id="shared", spare_trays=0, slice_trays=2)
    cut = replace(fleet(), pools=(racks, shared))

    def devices(asked: Ask) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for way in options(asked, cut):
            found.setdefault(way.pool, []).append(way.devices)
        return found

    assert devices(gang(512, whole_domains=True, min_domain_devices=72)) == {"racks": [512]}
    assert devices(gang(500)) == {"racks": [512], "shared": [504]}
    assert devices(gang(96, min_domain_devices=48)) == {"racks": [128]}, "one segment of 48 to a rack"
    assert devices(gang(3, min_domain_devices=8)) == {"racks": [64], "shared": [8]}
    assert devices(ask(18)) == {"racks": [64, 64], "shared": [16, 16]}, "each part for itself"


def test_an_elastic_claim_uses_all_that_it_is_given() -> None:
    racks = Pool("racks", PoolKind.INTERNAL, "gb300", 72, (Delivery(7200),), tray_devices=4)
    asked = gang(32, 36, min_devices=16, max_devices=128, silicon=(SiliconChoice("gb300"),))
    found = {(way.devices, way.slots) for way in options(asked, replace(fleet(), pools=(racks,)))}
    assert found == {(72, 8), (144, 5)}


def test_rack_scale_means_racks() -> None:
    assert set(ways(gang(min_domain_devices=72))) == {"racks"}
    assert set(ways(gang(min_domain_devices=73))) == set()


def test_forbidden_pools_are_no_options_and_preferred_ones_are_worth_more() -> None:
    assert set(ways(gang(forbidden_pools=("hgx",)))) == {"racks"}
    value = {w.pool: w.value_microusd for w in options(gang(preferred_pools=("hgx",), value_microusd=100), fleet())}
    assert value == {"hgx": 102, "racks": 100}


def test_the_deadline_leaves_faster_silicon_more_time() -> None:
    latest = {w.pool: w.latest for w in options(gang(deadline=160), fleet())}
    assert latest == {"hgx": 60, "racks": 110}
    assert {w.latest for w in options(gang(deadline=160, latest=20), fleet())} == {20}


def test_every_size_of_an_elastic_claim_does_the_same_work() -> None:
    sizes = ways(gang(64, 100, min_devices=16, max_devices=256))["hgx"]
    assert {16, 64, 256} <= {devices for devices, _ in sizes}
    assert all(devices * slots >= 64 * 100 > devices * (slots - 1) for devices, slots in sizes)


@pytest.mark.parametrize(("devices", "count"), [(4, 1), (8, 1), (15, 1), (16, 2), (64, 4), (4096, 4)])
def test_what_is_no_gang_comes_in_parts_of_eight_or_more(devices: int, count: int) -> None:
    asked = ask(devices, 10, value_microusd=1_000_003)
    assert parts(asked) == count
    mine = [w for w in options(asked, fleet()) if w.pool == "hgx"]
    assert sum(w.devices for w in mine) == devices
    assert sum(w.value_microusd for w in mine) == 1_000_003
    assert parts(replace(asked, gang=True)) == 1


def test_a_placement_is_allowed_when_it_is_one_of_the_ways() -> None:
    asked = gang(earliest=5, latest=9)
    assert option_of(asked, fleet(), Placement("hgx", 512, Window(9, 109), 9))
    assert not option_of(asked, fleet(), Placement("hgx", 512, Window(10, 110), 10))
    assert not option_of(asked, fleet(), Placement("hgx", 512, Window(4, 104), 9))
    assert not option_of(asked, fleet(), Placement("hgx", 511, Window(9, 109), 9))
    assert not option_of(replace(asked, forbidden_pools=("hgx",)), fleet(), Placement("hgx", 512, Window(9, 109), 9))


@given(devices=st.integers(1, 5000), slots=st.integers(1, 500), whole=st.booleans(), one=st.booleans())
def test_no_way_gives_less_than_was_asked(devices: int, slots: int, whole: bool, one: bool) -> None:
    asked = ask(devices, slots, whole_domains=whole, gang=one)
    by_pool: dict[str, int] = {}
    for way in options(asked, fleet()):
        by_pool[way.pool] = by_pool.get(way.pool, 0) + way.devices
        speed = {"hgx": 100, "racks": 200}[way.pool]
        assert way.slots * speed >= slots * 100
        assert not whole or way.devices % {"hgx": 8, "racks": 72}[way.pool] == 0
    assert all(total >= devices for total in by_pool.values())
