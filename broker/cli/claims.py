"""``broker claims``, ``show``, ``cancel``, ``watch``: what became of claims."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.claim import TierName
from broker.cli.connection import (
    DEFAULT_ADDRESS,
    Address,
    Format,
    Output,
    Tenant,
    connected,
    quiet_when_unread,
    usage,
)

if TYPE_CHECKING:
    from capacitybroker import Claim

__all__ = ["Name", "StateName", "cancel", "claims", "show", "watch", "whole"]


class StateName(StrEnum):
    """The life of a claim."""

    WAITING = "waiting"
    PLANNED = "planned"
    COMMITTED = "committed"
    ACTIVE = "active"
    ENDED = "ended"
    DISPLACED = "displaced"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    HELD = "held"


States = Annotated[list[StateName] | None, typer.Option("--state", help="Only claims in this state. May repeat.")]
Tiers = Annotated[list[TierName] | None, typer.Option("--tier", help="Only claims of this tier. May repeat.")]
WorkClass = Annotated[str, typer.Option("--class", help="Only claims of this workload class.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="Only claims with this KEY=VALUE. May repeat.")]
Entered = Annotated[
    list[StateName] | None,
    typer.Option("--state", help="Only changes into this state, and out of those named. May repeat."),
]
Names = Annotated[list[str] | None, typer.Option("--claim", help="Only this claim. May repeat.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most this many.")]
Everyone = Annotated[bool, typer.Option("--all", help="Of all tenants, whatever BROKER_TENANT says.")]
Name = Annotated[str, typer.Argument(help="tenant/claim, or the claim's id when --tenant is given.", metavar="CLAIM")]
FromRevision = Annotated[int, typer.Option("--from", min=0, help="First revision of interest; 0: from now on.")]
Count = Annotated[int, typer.Option("--count", min=0, help="End after so many changes; 0: never.")]


def claims(
    state: States = None,
    tier: Tiers = None,
    workload_class: WorkClass = "",
    label: Labels = None,
    limit: Limit = 200,
    everyone: Everyone = False,
    tenant: Tenant = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """List claims: who gets what, where and when, and what waits and why."""
    from itertools import islice

    from capacitybroker.v1.claim_pb2 import Tier

    from broker.cli.show import console, json_list
    from broker.cli.tables import claims_table

    tiers, labels = [Tier.Value(f"TIER_{name.name}") for name in tier or ()], _labels(label or ())
    with connected(address, tenant) as client:
        listing = iter(
            client.list_claims(
                tenant="-" if everyone else None,
                states=_states(state),
                workload_class=workload_class,
                tiers=tiers,
                labels=labels,
            )
        )
        found = list(islice(listing, limit))
        more = next(listing, None) is not None
    with quiet_when_unread():
        if output is Format.JSON:
            typer.echo(json_list(found))
        elif found:
            screen = console()
            screen.print(claims_table(found, width=screen.width))
        elif state or tier or workload_class or label:
            typer.echo("No claim is like that; without options all are listed.")
        else:
            typer.echo("No claims. Ask for capacity: broker claim 512 --silicon blackwell --for 14d")
            typer.echo("What there is to ask for: broker fleet show")
    if more:
        typer.echo(f"More than {limit} claims; --limit shows more.", err=True)


def show(name: Name, tenant: Tenant = "", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """All about one claim."""
    with connected(address, tenant) as client:
        found = client.get_claim(whole(name, tenant))
    _tell(found, output)


def cancel(name: Name, tenant: Tenant = "", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """Withdraw a claim; what it holds from now on is free at once."""
    from capacitybroker import Claim

    from broker.cli.show import json_one, short
    from broker.cli.tables import freed

    with connected(address, tenant) as client:
        before = client.get_claim(whole(name, tenant))
        already = before.state == Claim.STATE_CANCELLED
        found = before if already else client.cancel_claim(before.name)
    if output is Format.JSON:
        typer.echo(json_one(found))
    elif already:
        typer.echo(f"{short(found.name)} was cancelled already.")
    else:
        typer.echo(f"{short(found.name)} is cancelled. {freed(before, found)}")


def watch(
    state: Entered = None,
    claim: Names = None,
    start_revision: FromRevision = 0,
    count: Count = 0,
    everyone: Everyone = False,
    tenant: Tenant = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Follow claims as they change; one line each, until interrupted. JSON: one object a line."""
    from broker.cli.patient import patiently

    left = count
    with connected(address, tenant) as client, quiet_when_unread():
        try:
            changes = patiently(
                client,
                tenant="-" if everyone else None,
                start_revision=start_revision,
                claims=[whole(name, tenant) for name in claim or ()],
                states=_states(state),
            )
            for change in changes:
                for found in change.claims:
                    typer.echo(_line(found, change.revision, output))
                    left -= 1
                    if left == 0:
                        return
        except KeyboardInterrupt:
            return


def _states(names: list[StateName] | None) -> list[Claim.State.ValueType]:
    from capacitybroker import Claim

    return [Claim.State.Value(f"STATE_{name.name}") for name in names or ()]


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            usage(f"--label {pair}: write KEY=VALUE")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _line(claim: Claim, revision: int, output: Format) -> str:
    import json

    from broker.cli.parts import together
    from broker.cli.show import json_one, short, when
    from broker.cli.tables import standing, wanted, why

    if output is Format.JSON:
        return json.dumps(json.loads(json_one(claim)), ensure_ascii=False)
    places = "; ".join(
        f"{p.devices:,} in {short(p.pool)}, {when(p.start_time)} to {when(p.end_time)}" for p in together(claim)
    )
    outcome = " · ".join(filter(None, (places, why(claim))))
    return f"{revision:>8}  {short(claim.name):32} {standing(claim):13} {wanted(claim):24} {outcome}"


def _tell(claim: Claim, output: Format) -> None:
    from broker.cli.show import json_one
    from broker.cli.tables import claim_lines

    typer.echo(json_one(claim) if output is Format.JSON else "\n".join(claim_lines(claim)))


def whole(name: str, tenant: str) -> str:
    """The name as a client understands it; a usage error when nobody says whose claim it is."""
    if "/" not in name and not tenant:
        usage(f"whose claim? Write tenant/{name}, give --tenant, or set BROKER_TENANT")
    return name
