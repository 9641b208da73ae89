"""``broker audit``: look at the record of who changed what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from broker.cli.connection import fail

__all__ = ["audit"]

audit = typer.Typer(help="The record of who changed what and who was refused.", no_args_is_help=True)


@audit.callback()
def group() -> None:
    """The record of who changed what and who was refused."""


@audit.command()
def verify(
    directory: Annotated[Path, typer.Argument(help="The folder of the audit files.")] = Path("broker-data/audit"),
    head: Annotated[
        list[str] | None, typer.Option(help="A head that a log has told: its record must still be there.")
    ] = None,
) -> None:
    """See whether any record was changed, taken out or moved; exit status 1 if so."""
    from broker.telemetry.verify import has_record, verified

    if not directory.is_dir():
        fail(f"there is no folder {directory}", remedy="Name the folder that broker serve got as --audit-dir.")
    found = verified(directory)
    if not found:
        fail(f"{directory} holds no audit files", remedy="Name the folder that broker serve got as --audit-dir.")
    for file in found:
        state = file.wrong or ("closed" if file.closed else "not closed: its server runs, or was killed")
        typer.echo(f"{file.path.name}  {file.records} records  head {file.head or '-'}  {state}")
    for wanted in head or []:
        if not has_record(directory, wanted):
            fail(f"no record has the hash {wanted}", remedy="The end of a file was cut off, or a file is missing.")
    if any(file.wrong for file in found):
        fail("the record was changed", remedy="Compare it with a copy kept elsewhere, and with the ledger's log.")
    typer.echo(f"all {sum(file.records for file in found)} records are as they were written")
