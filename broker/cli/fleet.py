"""``broker fleet``: declare what there is, and see what may be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected, fail, usage

if TYPE_CHECKING:
    from capacitybroker import Fleet

__all__ = ["fleet"]

fleet = typer.Typer(
    no_args_is_help=True, help="Declare and show the fleet: silicon, workload classes, pools, contracts, tenants."
)

File = Annotated[
    Path | None,
    typer.Argument(help="YAML; broker fleet default prints one to start from.", show_default=False),
]
UseDefault = Annotated[bool, typer.Option("--default", help="The fictional fleet that comes with the broker.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change and who would lose capacity.")]
Etag = Annotated[str, typer.Option("--etag", help="Refuse it if the fleet has changed since it had this etag.")]


@fleet.command()
def apply(
    file: File = None,
    use_default: UseDefault = False,
    dry_run: DryRun = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Make the fleet as declared; times such as +3d count from today, so they move with each apply."""
    if (file is None) != use_default:
        usage("which fleet? Give a FILE, or --default for the fictional one; not both")
    declared = _read(file)
    from broker.cli.show import json_one
    from broker.cli.supply_tables import tell_supply

    with connected(address) as client:
        answer = client.apply_fleet(declared, etag=etag, validate_only=dry_run)
    if output is Format.JSON:
        typer.echo(json_one(answer))
        return
    tell_supply(answer, dry_run=dry_run)


@fleet.command()
def show(address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """The fleet in force: what may be asked for, and by whom."""
    from broker.cli.fleet_tables import fleet_tables
    from broker.cli.show import console, json_one

    with connected(address) as client:
        answer = client.read_fleet()
    found = answer.fleet
    if output is Format.JSON:
        typer.echo(json_one(found))
        return
    if not found.pools:
        typer.echo(
            "No fleet yet. Declare one: broker fleet apply FILE (broker fleet default prints an example),"
            " or broker fleet apply --default"
        )
        return
    screen = console()
    for table in fleet_tables(found, now=now(), width=screen.width):
        screen.print(table)
        screen.print()
    typer.echo(f"etag {answer.etag}: what is applied with --etag {answer.etag} replaces this fleet and no other")


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
        fail(str(error), remedy="An example: broker fleet default; the fields: docs/guide.md")
