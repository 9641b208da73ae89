"""``broker fleet``: declare what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected, fail

if TYPE_CHECKING:
    from capacitybroker import Fleet

__all__ = ["fleet"]

fleet = typer.Typer(
    no_args_is_help=True, help="Declare the fleet: silicon, workload classes, pools, contracts, tenants."
)

File = Annotated[
    Path | None,
    typer.Argument(help="YAML, as fleet.schema.json says; without it the default fleet.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change and who would lose capacity.")]


@fleet.command()
def apply(
    file: File = None, dry_run: DryRun = False, address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE
) -> None:
    """Make the fleet as declared; applying the same file again changes nothing."""
    declared = _read(file)
    from broker.cli.show import json_one
    from broker.cli.tables import fleet_change_lines

    with connected(address) as client:
        answer = client.apply_fleet(declared, validate_only=dry_run)
    if output is Format.JSON:
        typer.echo(json_one(answer))
        return
    typer.echo("Would change:" if dry_run else f"In force since revision {answer.revision}:")
    typer.echo("\n".join(fleet_change_lines(answer)))


@fleet.command()
def default() -> None:
    """Print the default fleet as YAML, to start from."""
    from broker.cli.fleet_file import default_fleet_text

    typer.echo(default_fleet_text(), nl=False)


def _read(file: Path | None) -> Fleet:
    from broker.cli.fleet_file import FleetFileError, default_fleet_text, fleet_from_file, fleet_from_text

    try:
        if file is None:
            return fleet_from_text(default_fleet_text(), today=now())
        return fleet_from_file(file, today=now())
    except FleetFileError as error:
        fail(str(error), remedy="The schema: broker/cli/fleet.schema.json; an example: broker fleet default")
