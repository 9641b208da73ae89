"""Expected starts, and how they fared, on the wire."""

from __future__ import annotations

from capacitybroker.v1 import expected_pb2 as pb

from broker.admission.expected import Calibration, Expected
from broker.transport.times import slot_moment, span

__all__ = ["calibration_message", "expected_message"]


def expected_message(expected: Expected) -> pb.ExpectedStart:
    """When a claim is expected to start."""
    return pb.ExpectedStart(
        basis=pb.ExpectedStart.Basis.Value(f"BASIS_{expected.basis}"),
        earliest_time=slot_moment(expected.earliest),
        p50_time=slot_moment(expected.p50),
        p80_time=slot_moment(expected.p80),
        past_starts=expected.starts,
        started_percent=expected.started_percent,
    )


def calibration_message(fared: Calibration) -> pb.Calibration:
    """How estimates of one basis fared."""
    return pb.Calibration(
        basis=pb.ExpectedStart.Basis.Value(f"BASIS_{fared.basis}"),
        waited=span(fared.waited),
        starts=fared.starts,
        inside_p80=fared.inside,
        by_p50=fared.by_p50,
        never_started=fared.never,
        median_error=span(fared.median_error),
        median_range=span(fared.median_range),
    )
