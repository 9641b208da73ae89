"""The layout of a pool on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from capacitybroker.v1 import fleet_service_pb2 as pb

from broker.domain.claim import Claim
from broker.domain.slots import Window
from broker.racks.pool import PoolLayout, stay_key
from broker.transport.claims import span_message
from broker.transport.times import slot_moment

__all__ = ["layout_message"]


def layout_message(found: PoolLayout, claims: Iterable[Claim], window: Window, now: int) -> pb.GetPoolLayoutResponse:
    """Where the claims are that hold some of the pool within ``window``, from slot ``now`` on."""
    cut, room = found.cut, found.room
    stays = [stay for claim in claims for stay in _stays(found, claim, window, now)]
    return pb.GetPoolLayoutResponse(
        slice_devices=cut.slice_devices,
        slices_per_domain=cut.per_domain,
        domains=-(-room.ever.at(window.end - 1) // cut.per_domain),
        stays=sorted(stays, key=lambda stay: (stay.start_time.seconds, stay.claim, stay.part)),
        slices_away=max(level for _, level in room.away.within(window)),
    )


def _stays(found: PoolLayout, claim: Claim, window: Window, now: int) -> Iterator[pb.Stay]:
    for placement in claim.placements:
        stay, key = placement.window, stay_key(claim.name, placement)
        if placement.pool == found.pool and stay.first < window.end and stay.end > max(window.first, now):
            yield pb.Stay(
                claim=str(claim.name),
                part=placement.part,
                start_time=slot_moment(stay.first),
                end_time=slot_moment(stay.end),
                domains=[span_message(span) for span in found.domains(key)],
                fixed=bool(placement.domains) and key not in found.layout.displaced,
            )
