"""``broker quote``, ``redeem``: what could be had, kept aside for minutes, and taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.claim import Id, Wish, understood, wishing
from broker.cli.claims import Name, whole
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, Tenant, connected, usage
from broker.cli.moments import minutes

if TYPE_CHECKING:
    from capacitybroker import Claim, QuoteClaimResponse, RedeemQuoteResponse

__all__ = ["quote", "redeem"]

HOLD_MINUTES_MAX = 15

Hold = Annotated[str, typer.Option("--hold", help="Keep the best offer aside for so long: 10m, 90s; 15m at most.")]


@wishing
def quote(
    wish: Wish,
    hold: Hold = "",
    claim_id: Id = "",
    tenant: Tenant = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Ask what could be had now, at what price, or what could be had instead; asks for nothing yet.

    broker quote 512 --silicon blackwell --for 14d --by friday --hold 10m
    """
    from broker.cli.show import json_one

    try:
        hold_for = minutes(hold, most=HOLD_MINUTES_MAX).total_seconds() if hold else None
    except ValueError as error:
        usage(f"--hold: {error}")
    asked = understood(wish, tenant)
    with connected(address, tenant) as client:
        found = client.quote_claim(asked, hold_for=hold_for, claim_id=claim_id)
    if output is Format.JSON:
        typer.echo(json_one(found))
        return
    _tell(found, tenant=tenant, asked=asked)
    if found.HasField("held"):
        _tell_held(found.held)


def redeem(name: Name, tenant: Tenant = "", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """Take what a quote holds, exactly as it was quoted; too late, see what can be had now (exit code 1)."""
    from broker.cli.show import json_one, short
    from broker.cli.tables import claim_lines

    with connected(address, tenant) as client:
        found = client.redeem_quote(whole(name, tenant))
    if output is Format.JSON:
        typer.echo(json_one(found))
    elif found.HasField("claim"):
        typer.echo(f"{short(found.claim.name)} is yours, as it was quoted.")
        typer.echo("\n".join(claim_lines(found.claim)))
    else:
        typer.echo(f"The quote {name.removeprefix('tenants/').replace('/claims/', '/')} has lapsed.")
        _tell(found, tenant=name.removeprefix("tenants/").split("/")[0] if "/" in name else tenant)
    if not found.HasField("claim"):
        raise typer.Exit(1)


def _tell(found: QuoteClaimResponse | RedeemQuoteResponse, *, tenant: str, asked: Claim | None = None) -> None:
    """The offers and the counter-offers, and what to type next unless one is held."""
    from capacitybroker import RedeemQuoteResponse

    from broker.cli.offers import next_lines, offers_table
    from broker.cli.show import console

    screen = console()
    if found.offers:
        moving = any(offer.moves for offer in found.offers)
        title = "What can be had if others make room" if moving else "What can be had now, best first"
        screen.print(offers_table(found.offers, title=title, width=screen.width))
    if found.counter_offers:
        title = "Nothing fits as it was asked; what could be had instead"
        screen.print(offers_table(found.counter_offers, title=title, width=screen.width))
    if not found.offers and not found.counter_offers:
        typer.echo("Nothing fits as it was asked, and no change was found that would help.")
    if isinstance(found, RedeemQuoteResponse) or not found.HasField("held"):
        for line in next_lines(found.offers, found.counter_offers, tenant=tenant, asked=asked):
            typer.echo(line)


def _tell_held(held: Claim) -> None:
    from broker.cli.parts import together
    from broker.cli.show import short, when

    places = "; ".join(
        f"{p.devices:,} in {short(p.pool)}, {when(p.start_time)} to {when(p.end_time)}" for p in together(held)
    )
    typer.echo(f"Held until {when(held.hold_expire_time)} UTC: {places}")
    typer.echo(f"Take it: broker redeem {short(held.name)}")
