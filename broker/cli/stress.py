"""``broker stress``: what would happen if a pool were lost now."""

from __future__ import annotations

from typing import Annotated

import typer

from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected, usage
from broker.cli.moments import length

__all__ = ["stress"]

Lost = Annotated[str, typer.Option("--for", help="How long a pool is lost: 24h, 7d, 4w.")]
Pools = Annotated[
    list[str] | None, typer.Option("--pool", help="Only this pool; may be given again.", show_default=False)
]


def stress(
    lost: Lost = "24h",
    pool: Pools = None,
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Say, pool by pool, who would be served again if it were lost from now on, and where.

    Claims SERVED AGAIN of those that hold the pool, tier by tier; others GIVE WAY to guaranteed work. Nothing changes.
    """
    from broker.cli.show import console, json_one
    from broker.cli.stress_table import refuge_lines, stress_table

    try:
        window = length(lost)
    except ValueError as error:
        usage(f"--for: {error}")
    with connected(address) as client:
        found = client.stress_test(window=window, pools=pool or ())
    if output is Format.JSON:
        typer.echo(json_one(found))
    elif found.losses:
        screen = console()
        screen.print(stress_table(found, title=f"If a pool were lost for {lost}", width=screen.width))
        for line in refuge_lines(found):
            screen.print(line, soft_wrap=True)
    else:
        typer.echo("No pools. Declare a fleet: broker fleet apply FILE; broker fleet default prints an example.")
