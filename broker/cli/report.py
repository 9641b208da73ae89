"""``broker report``: how well the broker tells when claims start."""

from __future__ import annotations

import typer

from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected

__all__ = ["report"]


def report(address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """How expected starts fared against real ones, as far as the server has seen.

    Four in five are to fall IN P80 RANGE, as many as can be BY P50; what was told of a claim that NEVER started is
    counted beside. A claim is counted once for what it was told waiting, and again after 1, 6 and 24 hours of it, once
    planned and once firm.
    """
    from broker.cli.expected import calibration_table
    from broker.cli.show import console, json_list

    with connected(address) as client:
        found = client.get_calibration()
    if output is Format.JSON:
        typer.echo(json_list(found))
    elif any(each.starts or each.never_started for each in found):
        console().print(calibration_table(found))
    else:
        typer.echo("No claim has started yet, as far as the server has seen.")
