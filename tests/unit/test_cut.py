"""How domains are cut into slices, and what that leaves of a claim's wishes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.cut import Cut, Piece, in_pieces
from broker.domain.fleet import Delivery, Maintenance
from broker.domain.slots import SLOT_SECONDS, Window
from tests.builders import pool

RACK = Cut(72, 4, 0, 18)
SPARED = Cut(72, 4, 2, 16)
EIGHTS = Cut(72, 4, 0, 2)
NODE = Cut(8, 8, 0, 1)


def test_512_devices_are_eight_racks_of_64_with_two_spare_trays_each() -> None:
    piece = SPARED.piece(whole_domains=True, segment=72)
    assert piece == Piece(64, 64)
    assert in_pieces(512, *piece) == 512
    assert in_pieces(512, *(RACK.piece(whole_domains=True, segment=72) or ())) == 576


@pytest.mark.parametrize(
    ("cut", "devices", "slices"),
    [
        (RACK, 144, 2),
        (RACK, 143, 1),  # a tray is away, and with it the rack as a whole
        (SPARED, 144, 2),
        (SPARED, 136, 2),  # two trays are away, and their spares take over
        (SPARED, 132, 1),
        (EIGHTS, 144, 18),
        (EIGHTS, 140, 17),
        (EIGHTS, 72 + 15, 10),
        (NODE, 31, 3),
    ],
)
def test_what_lacks_a_tray_is_no_slice_unless_a_spare_stands_in(cut: Cut, devices: int, slices: int) -> None:
    assert cut.slices(devices) == slices
    assert cut.usable(devices) == slices * cut.slice_devices


def test_trays_that_make_no_slice_are_spare() -> None:
    cut = Cut(72, 4, 0, 5)
    assert (cut.per_domain, cut.usable(72)) == (3, 60)


def test_spare_trays_are_of_every_domain() -> None:
    assert (Cut(72, 4, 2, 2).per_domain, Cut(72, 4, 2, 2).usable(144)) == (8, 128)


def test_whole_domains_are_only_had_where_domains_are_not_divided() -> None:
    assert EIGHTS.piece(whole_domains=True, segment=0) is None
    assert RACK.piece(whole_domains=True, segment=0) == Piece(72, 72)
    assert NODE.piece(whole_domains=True, segment=8) == Piece(8, 8)


def test_a_segment_is_never_split_between_slices() -> None:
    assert RACK.piece(whole_domains=False, segment=32) == Piece(64, 72)  # two to a rack, and eight devices idle
    assert RACK.piece(whole_domains=False, segment=64) == Piece(64, 72)
    assert EIGHTS.piece(whole_domains=False, segment=8) == Piece(8, 8)
    assert EIGHTS.piece(whole_domains=False, segment=9) is None
    assert RACK.piece(whole_domains=False, segment=73) is None


def test_rack_scale_is_what_a_rack_has_without_its_spares() -> None:
    assert SPARED.piece(whole_domains=False, segment=72) == Piece(64, 64)


def test_supply_is_what_can_be_given_out() -> None:
    racks = pool(
        domain_devices=72,
        tray_devices=4,
        spare_trays=2,
        deliveries=(Delivery(144), Delivery(100, at=2 * SLOT_SECONDS)),
        maintenance=(Maintenance(12, at=0, until=SLOT_SECONDS),),
    )
    assert racks.supply().over(Window(0, 3)) == [64, 128, 192]
    assert racks.delivered().over(Window(0, 3)) == [128, 128, 192]


def test_without_trays_every_device_counts() -> None:
    plain = pool(domain_devices=72, deliveries=(Delivery(100),))
    assert plain.cut is None
    assert plain.supply().at(0) == 100
    assert plain.piece(whole_domains=False, min_domain_devices=72) == Piece(1, 1)
    assert plain.piece(whole_domains=True, min_domain_devices=0) == Piece(72, 72)
    assert plain.piece(whole_domains=False, min_domain_devices=73) is None


cuts = st.builds(
    lambda tray, trays, spare, per: Cut(tray * trays, tray, spare % trays, 1 + per % (trays - spare % trays)),
    *(st.integers(1, 8), st.integers(1, 18), st.integers(0, 17), st.integers(0, 17)),
)


@given(cut=cuts, devices=st.integers(0, 2000), more=st.integers(0, 50))
def test_more_devices_never_make_fewer_slices(cut: Cut, devices: int, more: int) -> None:
    assert cut.slices(devices) <= cut.slices(devices + more)
    assert cut.usable(devices) <= devices


@given(cut=cuts, devices=st.integers(1, 2000), segment=st.integers(0, 80))
def test_a_claim_gets_whole_slices_that_hold_all_of_its_segments(cut: Cut, devices: int, segment: int) -> None:
    piece = cut.piece(whole_domains=False, segment=segment)
    if piece is None:
        assert segment > cut.slice_devices
        return
    given_out = in_pieces(devices, *piece)
    slices, rest = divmod(given_out, cut.slice_devices)
    each = min(max(1, segment), cut.slice_devices)
    assert rest == 0
    assert slices * (cut.slice_devices // each) >= -(-devices // each) > (slices - 1) * (cut.slice_devices // each)
