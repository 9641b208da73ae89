"""``broker domains``: which racks or nodes of a pool claims are on."""

from __future__ import annotations

from typing import Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected, usage
from broker.cli.moments import length

__all__ = ["domains"]

Pool = Annotated[str, typer.Argument(help="Id of a pool that has tray_devices in the fleet file.")]
Ahead = Annotated[str, typer.Option("--ahead", help="How far to look: 24h, 7d, 4w.")]


def domains(pool: Pool, ahead: Ahead = "7d", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """Draw the racks or nodes of a pool over time, and say which of them each claim is on.

    What has started stays where it is; the rest is what would become of it if nothing changed.
    """
    from broker.cli.layout import layout_lines, stays_table
    from broker.cli.show import console, json_one

    start = now()
    try:
        end = start + length(ahead)
    except ValueError as error:
        usage(f"--ahead: {error}")
    with connected(address) as client:
        found = client.get_pool_layout(pool, start=start, end=end)
    if output is Format.JSON:
        typer.echo(json_one(found))
        return
    screen = console()
    typer.echo("\n".join(layout_lines(found, start=int(start.timestamp()), end=int(end.timestamp()))))
    if found.stays:
        screen.print(stays_table(found, width=screen.width))
