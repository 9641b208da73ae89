"""``broker tenants``: who may ask, and what they hold of their quotas and on loan."""

from __future__ import annotations

from typing import Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected, usage
from broker.cli.moments import length

__all__ = ["tenants"]

Ahead = Annotated[str, typer.Option("--ahead", help="How far to look: 24h, 7d, 4w.")]


def tenants(ahead: Ahead = "7d", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """List the tenants: what their claims hold of their quotas, and what they have on loan.

    NOW is in use at present, PEAK the most at once in the time ahead.
    """
    from broker.cli.fleet_tables import tenants_table
    from broker.cli.show import console, json_list

    start = now()
    try:
        end = start + length(ahead)
    except ValueError as error:
        usage(f"--ahead: {error}")
    with connected(address) as client:
        found = client.list_tenants(start=start, end=end)
    if output is Format.JSON:
        typer.echo(json_list(found))
    elif found:
        screen = console()
        screen.print(tenants_table(found, title=f"Devices at once over the next {ahead}", width=screen.width))
    else:
        typer.echo("No tenants. Declare a fleet: broker fleet apply FILE; broker fleet default prints an example.")
