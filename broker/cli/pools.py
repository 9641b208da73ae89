"""``broker pools``: how full the pools are."""

from __future__ import annotations

from typing import Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected, usage
from broker.cli.moments import length

__all__ = ["pools"]

Ahead = Annotated[str, typer.Option("--ahead", help="How far to look: 24h, 7d, 4w.")]


def pools(ahead: Ahead = "7d", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """List the pools: what there is, how full it will be, what is paid for already, what is short.

    FREE AT LEAST devices are free in every hour of the window; SHORT DEVICE-HOURS are held but no longer there.
    """
    from broker.cli.show import console, json_list
    from broker.cli.tables import pools_table

    start = now()
    try:
        end = start + length(ahead)
    except ValueError as error:
        usage(f"--ahead: {error}")
    with connected(address) as client:
        found = list(client.list_pools(start=start, end=end))
    if output is Format.JSON:
        typer.echo(json_list(found))
    elif found:
        screen = console()
        screen.print(pools_table(found, title=f"Use over the next {ahead}", width=screen.width))
    else:
        typer.echo("No pools. Declare a fleet: broker fleet apply FILE; broker fleet default prints an example.")
