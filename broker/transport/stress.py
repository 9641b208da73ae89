"""What the loss of pools would do, on the wire."""

from __future__ import annotations

from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import planning_service_pb2 as pb

from broker.admission.stress import PoolLoss, Stress
from broker.transport.names import claim_path
from broker.transport.times import slot_moment

__all__ = ["stress_message"]


def stress_message(found: Stress) -> pb.StressTestResponse:
    """A stress report on the wire."""
    return pb.StressTestResponse(
        losses=map(_loss, found.losses),
        start_time=slot_moment(found.window.first),
        end_time=slot_moment(found.window.end),
        revision=found.revision,
    )


def _loss(loss: PoolLoss) -> pb.PoolLoss:
    return pb.PoolLoss(
        pool=f"pools/{loss.pool}",
        supplied_devices=loss.supplied,
        held_devices=loss.held,
        tiers=[
            pb.TierLoss(
                tier=claim_pb2.Tier.Value(f"TIER_{tier.tier}"),
                claims=tier.claims,
                served_again=tier.again,
                uninsurable=tier.uninsurable,
                devices=tier.devices,
            )
            for tier in loss.tiers
        ],
        refuges=[
            pb.Refuge(pool=f"pools/{pool}", devices=devices)
            for pool, devices in sorted(loss.refuges.items(), key=lambda item: (-item[1], item[0]))
        ],
        giving_way=loss.giving_way,
        not_served=map(claim_path, loss.not_served),
    )
