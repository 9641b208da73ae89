"""``broker plan-now``: plan what is known, and see how good the plan is."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected

__all__ = ["plan_now"]

Seconds = Annotated[
    int, typer.Option("--seconds", min=0, max=600, help="Time for the optimiser; 0: the planner's own.")
]
Latest = Annotated[bool, typer.Option("--latest", help="Only show the plan in force.")]


def plan_now(
    seconds: Seconds = 0, latest: Latest = False, address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE
) -> None:
    """Plan everything known now; answers when the plan is in force."""
    from broker.cli.show import json_one
    from broker.cli.tables import plan_lines

    with connected(address) as client:
        if latest:
            plan = client.get_plan()
        else:
            plan = client.run_plan(time_limit=timedelta(seconds=seconds) if seconds else None)
    typer.echo(json_one(plan) if output is Format.JSON else "\n".join(plan_lines(plan)))
