"""``broker explain``: why a claim waits, drawn, and the way round."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from broker.cli.claims import Name, whole
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, Tenant, connected

if TYPE_CHECKING:
    from capacitybroker import Client, ExplainClaimResponse

__all__ = ["explain"]


def explain(name: Name, tenant: Tenant = "", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """Why a claim waits, who holds what it needs, and the smallest change that would let it in."""
    from broker.cli.expected import expected_line
    from broker.cli.show import json_one

    with connected(address, tenant) as client:
        found = client.explain_claim(whole(name, tenant))
        if output is Format.JSON:
            typer.echo(json_one(found))
            return
        drawn = list(_drawn(client, found))
    typer.echo(_sentence(found))
    if found.claim.HasField("expected_start"):
        typer.echo(f"  starts  {expected_line(found.claim.expected_start)}")
    for line in drawn:
        typer.echo(line)
    _tell_way_round(found)


def _sentence(found: ExplainClaimResponse) -> str:
    """The reason in one plain sentence, or that there is nothing to explain."""
    from capacitybroker import Claim, Reason

    from broker.cli.show import short, word
    from broker.cli.tables import standing

    claim = found.claim
    is_so = f"{short(claim.name)} is {standing(claim)}"
    if found.HasField("reason"):
        served = (Claim.STATE_PLANNED, Claim.STATE_COMMITTED, Claim.STATE_ACTIVE)
        partly = claim.placements and claim.state in served
        in_part = "in part " if partly and "new_pool" not in found.reason.facts else ""
        return f"{is_so} {in_part}because: {found.reason.message or word(Reason, found.reason.reason)}"
    return f"{is_so}: nothing stands in its way." if claim.placements else f"{is_so}: there is nothing to explain."


def _drawn(client: Client, found: ExplainClaimResponse) -> Iterator[str]:
    """The nearest wall over the calendar of its pool, the other walls in a line each, and what the claim was before."""
    from broker.cli.wall import also_lines, free_levels, past_lines, shown_until, wall_lines

    if found.walls:
        nearest = found.walls[0]
        pool = client.get_pool(
            nearest.pool, start=_moment(nearest.start_time.seconds), end=_moment(shown_until(nearest))
        )
        yield from wall_lines(nearest, free_levels(pool), found.holders)
        yield from also_lines(found.walls[1:])
    yield from past_lines(found.past)


def _tell_way_round(found: ExplainClaimResponse) -> None:
    """What would let the claim in, as an offer, and what to type for it."""
    from capacitybroker import Claim

    from broker.cli.line import typed
    from broker.cli.offers import given_way, offers_table
    from broker.cli.show import console, short

    if not found.HasField("offer"):
        if found.walls:
            typer.echo("No change of the claim was found that would let it in.")
        elif found.claim.state == Claim.STATE_EXPIRED and not found.claim.placements:
            line = typed("quote", found.claim, tenant=short(found.claim.name).split("/")[0])
            if line:
                typer.echo(f"What could be had instead: {line}")
        return
    screen = console()
    count = len(found.changes)
    title = (
        f"What would let it in: {given_way(found.changes)}"
        if count
        else "There is room for it now; the next plan decides"
    )
    screen.print(offers_table([found.offer], title=title, width=screen.width))
    name = short(found.claim.name)
    line = typed("claim", found.offer.claim, tenant=name.split("/")[0]) if count else ""
    if line:
        typer.echo(f"Ask for that instead: {line}")
        typer.echo(f"                      broker cancel {name}")


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
