"""A stress report for people: a bar of what each pool holds, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator

from capacitybroker import TIER_GUARANTEED, TIER_SPOT, TIER_STANDARD, PoolLoss, StressTestResponse, Tier
from rich.table import Table

from broker.cli.show import WIDE, grid, short

__all__ = ["refuge_lines", "stress_table"]

BAR = 20  # characters for a full pool
INK = {TIER_GUARANTEED: "█", TIER_STANDARD: "▓", TIER_SPOT: "░"}
NAMES_SHOWN = 10


def stress_table(found: StressTestResponse, *, title: str, width: int = WIDE) -> Table:
    """One row for each pool; a bar shows guaranteed, standard and spot devices of all that the pool has."""
    numbers = ("DEVICES", "HELD", "GUARANTEED", "STANDARD", "SPOT", "GIVE WAY")
    rows = [
        (
            short(loss.pool),
            f"{loss.supplied_devices:,}",
            f"{loss.held_devices:,}",
            _bar(loss),
            *(_again(loss, tier) for tier in (TIER_GUARANTEED, TIER_STANDARD, TIER_SPOT)),
            f"{loss.giving_way:,}" if loss.giving_way else "",
            "lost" if loss.not_served else "",
        )
        for loss in found.losses
    ]
    styles = ["red" if loss.not_served else None for loss in found.losses]
    headers = ("POOL", *numbers[:2], "█ GUARANTEED ▓ STANDARD ░ SPOT", *numbers[2:], "GUARANTEED WORK")
    spare = ("█ GUARANTEED ▓ STANDARD ░ SPOT", "DEVICES")
    return grid(headers, rows, right=numbers, spare=spare, whole=("POOL",), styles=styles, width=width, title=title)


def refuge_lines(found: StressTestResponse) -> Iterator[str]:
    """Where the work of each pool would go, and which guaranteed claims would go nowhere."""
    for loss in found.losses:
        if loss.refuges:
            places = ", ".join(f"{refuge.devices:,} of {short(refuge.pool)}" for refuge in loss.refuges)
            yield f"{short(loss.pool)}: its work would take {places}"
        if loss.not_served:
            names = ", ".join(map(short, loss.not_served[:NAMES_SHOWN]))
            more = f" and {len(loss.not_served) - NAMES_SHOWN} more" if len(loss.not_served) > NAMES_SHOWN else ""
            yield f"{short(loss.pool)}: not served again: {names}{more}"


def _again(loss: PoolLoss, tier: Tier.ValueType) -> str:
    mine = next((each for each in loss.tiers if each.tier == tier), None)
    if mine is None or not mine.claims:
        return "-"
    never = f" ({mine.uninsurable} uninsurable)" if mine.uninsurable else ""
    return f"{mine.served_again:,} of {mine.claims:,}{never}"


def _bar(loss: PoolLoss) -> str:
    """Devices that each tier holds at most, as a share of the pool."""
    out = ""
    for tier in loss.tiers:
        out += INK.get(tier.tier, "?") * round(BAR * tier.devices / max(1, loss.supplied_devices))
    return out[:BAR].ljust(BAR, "·")
