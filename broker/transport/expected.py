"""Expected starts, and how they fared, on the wire."""

from __future__ import annotations

from capacitybroker.v1 import expected_pb2 as pb

from broker.admission.expected import Calibration, Expected
from broker.domain.slots import SLOT_SECONDS
from broker.transport.times import span

__all__ = ["calibration_message", "expected_message"]

BASES = {name.removeprefix("BASIS_"): number for name, number in pb.ExpectedStart.Basis.items()}


def expected_message(expected: Expected) -> pb.ExpectedStart:
    """When a claim is expected to start."""
    message = pb.ExpectedStart(
        basis=BASES[expected.basis], past_starts=expected.starts, started_percent=expected.started_percent
    )
    message.earliest_time.seconds = expected.earliest * SLOT_SECONDS
    message.p50_time.seconds = expected.p50 * SLOT_SECONDS
    message.p80_time.seconds = expected.p80 * SLOT_SECONDS
    return message


def calibration_message(fared: Calibration) -> pb.Calibration:
    """How estimates of one basis fared."""
    return pb.Calibration(
        basis=BASES[fared.basis],
        waited=span(fared.waited),
        starts=fared.starts,
        inside_p80=fared.inside,
        by_p50=fared.by_p50,
        never_started=fared.never,
        median_error=span(fared.median_error),
        median_range=span(fared.median_range),
    )
