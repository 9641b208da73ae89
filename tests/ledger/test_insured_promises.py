"""Where the fleet is insured, a loss lifts promises to work that gives way; nowhere else, and never guaranteed ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.domain.claim import Tier
from broker.domain.insurance import Insurance, LossKind
from broker.domain.slots import Window
from broker.domain.snapshot import Shortfall
from broker.ledger.promises import supply_lost
from tests.builders import claim, fleet, placement

SHORT = (Shortfall("pools/a", Window(0, 24), 8),)
ANY = Insurance("any", LossKind.ANY_ONE_POOL)


@pytest.mark.parametrize(
    ("tier", "insurance", "short", "lifted"),
    [
        (Tier.STANDARD, (ANY,), SHORT, True),
        (Tier.SPOT, (replace(ANY, covers=("b",)),), SHORT, True),
        (Tier.GUARANTEED, (ANY,), SHORT, False),
        (Tier.STANDARD, (), SHORT, False),
        (Tier.STANDARD, (replace(ANY, covers=("c",)),), SHORT, False),
        (Tier.STANDARD, (ANY,), (), False),
        (Tier.STANDARD, (ANY,), (Shortfall("tenants/borealis", Window(0, 24), 8),), False),
    ],
)
def test_who_gives_way(
    tier: Tier, insurance: tuple[Insurance, ...], short: tuple[Shortfall, ...], *, lifted: bool
) -> None:
    made = replace(fleet({"a": 8, "b": 8, "c": 8}), insurance=insurance)
    assert supply_lost(claim(tier=tier), placement("b", 8, 0, 4), made, short, 0) is lifted
