"""The same word in the API, in Python and in the store: what is one thing has one name."""

from __future__ import annotations

from capacitybroker.v1 import claim_pb2, fleet_pb2

from broker.domain.claim import State, Tier
from broker.domain.fleet import PoolKind
from broker.domain.reason import Reason


def names(prefix: str, values: list[str]) -> set[str]:
    return {value.removeprefix(prefix) for value in values} - {"UNSPECIFIED"}


def test_reasons_tiers_kinds_and_states_are_the_same_in_the_api_and_in_the_domain() -> None:
    assert names("REASON_", claim_pb2.Reason.keys()) == {reason.name for reason in Reason}
    assert names("TIER_", claim_pb2.Tier.keys()) == {tier.name for tier in Tier}
    assert names("POOL_KIND_", fleet_pb2.PoolKind.keys()) == {kind.name for kind in PoolKind}
    states = {state.__name__.upper() for state in State.__args__}
    assert names("STATE_", claim_pb2.Claim.State.keys()) == states
