"""What a change of supply does, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import typer
from capacitybroker import Claim, Tier, TouchedClaim
from capacitybroker.v1.fleet_service_pb2 import FleetChange
from rich.table import Table

from broker.cli.show import WIDE, console, grid, short, when, word

if TYPE_CHECKING:
    from capacitybroker import ChangeSupplyResponse
    from capacitybroker.v1.fleet_service_pb2 import ApplyFleetResponse

__all__ = ["supply_lines", "tell_supply", "touched_table"]


def tell_supply(answer: ApplyFleetResponse | ChangeSupplyResponse, *, dry_run: bool) -> None:
    """What changes, what is short by it, and who loses a place."""
    typer.echo("Would change:" if dry_run else f"In force since revision {answer.revision}, etag {answer.etag}:")
    typer.echo("\n".join(supply_lines(answer)))
    if answer.touched:
        screen = console()
        screen.print(touched_table(answer.touched, title=_summary(answer), width=screen.width))


def supply_lines(answer: ApplyFleetResponse | ChangeSupplyResponse) -> Iterator[str]:
    """What differs, and what claims hold more than there is."""
    for change in answer.changes:
        yield f"  {word(FleetChange.Action, change.action):8} {change.resource}"
    for gap in answer.shortfalls:
        yield (
            f"  short    {gap.resource}: claims hold up to {gap.devices:,} devices too many,"
            f" {when(gap.start_time)} to {when(gap.end_time)}"
        )
    for name in getattr(answer, "uninsurable", ()):  # of a whole fleet only
        yield f"  uninsurable {short(name)}: after some loss no pool could hold it"
    if not answer.changes:
        yield "  nothing differs"


def touched_table(touched: Iterable[TouchedClaim], *, title: str, width: int = WIDE) -> Table:
    """One row for each claim that loses a place, most guaranteed first."""
    return grid(
        ("CLAIM", "TIER", "STATE", "LOSES", "POOL", "START", "END", "FREE INSTEAD"),
        [_row(one) for one in touched],
        right=("LOSES",),
        spare=("END", "STATE"),
        whole=("CLAIM", "TIER", "LOSES"),
        width=width,
        title=title,
    )


def _row(one: TouchedClaim) -> tuple[str, ...]:
    lost, found = one.placement, one.refuge
    return (
        short(one.claim) or "(another tenant's)",
        word(Tier, one.tier),
        word(Claim.State, one.state),
        f"{lost.devices:,}",
        short(lost.pool),
        when(lost.start_time),
        when(lost.end_time),
        f"{short(found.pool)}, {when(found.start_time)}" if one.HasField("refuge") else "nothing",
    )


def _summary(answer: ApplyFleetResponse | ChangeSupplyResponse) -> str:
    told = len(answer.touched)
    listed = f", {told:,} of them here" if answer.touched_count > told else ""
    return f"{answer.touched_count:,} placements are lost{listed}; the plan that follows decides where they go"
