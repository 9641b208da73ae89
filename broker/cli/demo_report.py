"""What the demo prints: who got what, where, when, at what cost; what waits and why; how good the plan is."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capacitybroker import Claim
from rich.console import Console
from rich.table import Table

from broker.cli.show import dollars, grid
from broker.cli.tables import claims_table, plan_lines, pools_table

if TYPE_CHECKING:
    from broker.cli.demo import Result

__all__ = ["report", "tenants_table"]

TOP = 20
WAITING = 15


def report(console: Console, result: Result, *, out: Path, seconds: float, address: str, kept: bool) -> None:
    """Print everything, and leave the table of all claims in ``out``."""
    served = [claim for claim in result.claims if claim.placements]
    waiting = [claim for claim in result.claims if not claim.placements]
    top = sorted(served, key=_worth, reverse=True)[:TOP]
    title = f"The {len(top)} most valuable of {len(served)} claims that hold capacity"
    console.print(claims_table(top, title=title, width=console.width))
    console.print()
    shown = sorted(waiting, key=_worth, reverse=True)[:WAITING]
    title = f"Waiting: {len(waiting)}, the most valuable first"
    console.print(_waiting_table(shown, title=title, width=console.width))
    if result.refused:
        console.print()
        console.print(_refused_table(result))
    console.print()
    console.print(tenants_table(result.claims))
    console.print()
    console.print(pools_table(result.pools, title="Pools over four weeks", width=console.width))
    console.print()
    for line in plan_lines(result.plan):
        console.print(line)
    _leave_all_claims(result.claims, out / "claims.txt")
    console.print()
    total = len(result.claims) + len(result.refused)
    console.print(
        f"{total} claims from {len({_tenant(c) for c in result.claims})} tenants over gRPC in"
        f" {result.submit_seconds:.1f} s; all done in {seconds:.0f} s."
    )
    console.print(f"Picture: {out / 'calendar.svg'} (open it in a browser). All claims: {out / 'claims.txt'}")
    _next(console, address=address, kept=kept)


def tenants_table(claims: Sequence[Claim]) -> Table:
    """One row for each tenant, and the sum."""
    numbers = ("CLAIMS", "SERVED", "WAITING", "DEVICE-HOURS", "VALUE SERVED", "OF", "NEW MONEY", "PAID ALREADY")
    tenants = sorted({_tenant(claim) for claim in claims})
    rows = [(tenant, *_sums([claim for claim in claims if _tenant(claim) == tenant])) for tenant in tenants]
    styles = [*([None] * len(rows)), "bold"]
    return grid(
        ("TENANT", *numbers), [*rows, ("all", *_sums(claims))], right=numbers, styles=styles, title="Who got what"
    )


def _sums(claims: Sequence[Claim]) -> tuple[str, ...]:
    served = [claim for claim in claims if claim.placements]
    placements = [placement for claim in served for placement in claim.placements]
    offered = sum(claim.value_microusd for claim in claims)
    value = sum(claim.value_microusd for claim in served)
    return (
        f"{len(claims):,}",
        f"{len(served):,}",
        f"{len(claims) - len(served):,}",
        f"{sum(_device_hours(claim) for claim in served):,}",
        f"{100 * value / offered:.1f} %" if offered else "-",
        dollars(offered),
        dollars(sum(placement.cost_microusd for placement in placements)),
        dollars(sum(placement.paid_microusd for placement in placements)),
    )


def _waiting_table(claims: Sequence[Claim], *, title: str, width: int) -> Table:
    from capacitybroker import Tier

    from broker.cli.show import hours, short, word
    from broker.cli.tables import wanted, why

    rows = [
        (
            short(claim.name),
            word(Tier, claim.tier),
            wanted(claim),
            hours(claim.duration.seconds / 3600),
            dollars(claim.value_microusd),
            why(claim),
        )
        for claim in claims
    ]
    headers = ("CLAIM", "TIER", "WANTED", "WORK", "WORTH", "WHY")
    return grid(headers, rows, right=("WORK", "WORTH"), spare=("TIER", "WORK", "WANTED"), width=width, title=title)


def _refused_table(result: Result) -> Table:
    rows = [(refused.name, refused.reason, refused.message) for refused in result.refused]
    return grid(("CLAIM", "REASON", "WHAT THE BROKER SAID"), rows, title="Refused at the door")


def _leave_all_claims(claims: Sequence[Claim], file: Path) -> None:
    with file.open("w", encoding="utf-8") as text:
        Console(file=text, width=300, no_color=True, highlight=False, markup=False).print(claims_table(claims))


def _next(console: Console, *, address: str, kept: bool) -> None:
    """What to type now, the way this program was started."""
    program = _program()
    first = f"export BROKER_ADDRESS={address} BROKER_TENANT=research" if kept else f"{program} demo --keep"
    why = "in another terminal" if kept else "leaves the broker running"
    console.print("\nNext:")
    console.print(f"  {first}    ({why})")
    for line in (
        "claim 512 --silicon blackwell --for 14d --by friday --whole-domains",
        "claims --state waiting",
        "pools --ahead 4w",
        "watch --all",
    ):
        console.print(f"  {program} {line}")
    if kept:
        console.print(f"\nServing on {address}; Ctrl-C stops it.")


def _program() -> str:
    started = Path(sys.argv[0])
    if started.name != "broker":
        return "python -m broker"
    return "broker" if shutil.which("broker") else os.path.relpath(started)


def _worth(claim: Claim) -> int:
    return claim.value_microusd


def _device_hours(claim: Claim) -> int:
    return sum(p.devices * (p.end_time.seconds - p.start_time.seconds) // 3600 for p in claim.placements)


def _tenant(claim: Claim) -> str:
    return claim.name.split("/")[1]
