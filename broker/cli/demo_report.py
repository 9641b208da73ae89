"""What the demo prints: who got what, where, when, at what cost; what waits and why; how good the plan is."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capacitybroker import Claim, Plan, PoolStatus
from rich.console import Console
from rich.table import Table

from broker.cli.show import WIDE, dollars, grid
from broker.cli.tables import claims_table, plan_lines, pools_table
from broker.cli.tally import tally, waiting

__all__ = ["Refused", "Result", "report", "tenants_table"]

TOP = 20
WAITING = 15
# The first of these finds room even in the calendar that the demo has filled.
SUGGESTED = ("claim 64 --silicon blackwell --for 3d", "claims", "fleet show", "pools --ahead 4w", "watch --all")


@dataclass(frozen=True, slots=True)
class Refused:
    """A claim that the broker did not take, and what it said."""

    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """All that the demo has to tell."""

    claims: Sequence[Claim]
    refused: Sequence[Refused]
    pools: Sequence[PoolStatus]
    plan: Plan
    submit_seconds: float


def report(console: Console, result: Result, *, out: Path, seconds: float, address: str, kept: bool) -> None:
    """Print everything, and leave the table of all claims in ``out``."""
    served = [claim for claim in result.claims if claim.placements]
    wait = [claim for claim in result.claims if waiting(claim)]
    top = sorted(served, key=_worth, reverse=True)[:TOP]
    title = f"The {len(top)} most valuable of {len(served)} claims that hold capacity"
    console.print(claims_table(top, title=title, width=console.width))
    console.print()
    shown = sorted(wait, key=_worth, reverse=True)[:WAITING]
    counts = tally(result.claims)
    gone = f" ({counts.expired} more expired)" if counts.expired else ""
    title = f"Waiting: {counts.waiting}{gone}, the most valuable first"
    console.print(_waiting_table(shown, title=title, width=console.width))
    if result.refused:
        console.print()
        console.print(_refused_table(result, width=console.width))
    console.print()
    console.print(tenants_table(result.claims, width=console.width))
    console.print()
    console.print(pools_table(result.pools, title="Pools over four weeks", width=console.width))
    console.print()
    for line in plan_lines(result.plan):
        console.print(line, soft_wrap=True)
    _leave_all_claims(result.claims, out / "claims.txt")
    console.print()
    total = len(result.claims) + len(result.refused)
    console.print(
        f"{total} claims from {len({_tenant(c) for c in result.claims})} tenants over gRPC in"
        f" {result.submit_seconds:.1f} s; all done in {seconds:.0f} s."
    )
    console.print(
        f"Picture: {out / 'calendar.svg'} (open it in a browser). All claims: {out / 'claims.txt'}", soft_wrap=True
    )
    _next(console, address=address, kept=kept)


def tenants_table(claims: Sequence[Claim], *, width: int = WIDE) -> Table:
    """One row for each tenant, and the sum."""
    numbers = (
        "CLAIMS",
        "SERVED",
        "WAITING",
        "EXPIRED",
        "DEVICE-HOURS",
        "VALUE SERVED",
        "OF",
        "NEW MONEY",
        "PAID ALREADY",
    )
    tenants = sorted({_tenant(claim) for claim in claims})
    rows = [(tenant, *_sums([claim for claim in claims if _tenant(claim) == tenant])) for tenant in tenants]
    styles = [*([None] * len(rows)), "bold"]
    return grid(
        ("TENANT", *numbers),
        [*rows, ("all", *_sums(claims))],
        right=numbers,
        spare=("PAID ALREADY", "DEVICE-HOURS", "NEW MONEY"),
        whole=("TENANT", *numbers),
        styles=styles,
        width=width,
        title="Who got what",
    )


def _sums(claims: Sequence[Claim]) -> tuple[str, ...]:
    served = [claim for claim in claims if claim.placements]
    placements = [placement for claim in served for placement in claim.placements]
    offered = sum(claim.value_microusd for claim in claims)
    value = sum(claim.value_microusd for claim in served)
    counts = tally(claims)
    return (
        f"{len(claims):,}",
        f"{len(served):,}",
        f"{counts.waiting:,}",
        f"{counts.expired:,}" if counts.expired else "",
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
    return grid(
        headers,
        rows,
        right=("WORK", "WORTH"),
        spare=("TIER", "WORK", "WANTED"),
        whole=("CLAIM", "WORTH"),
        width=width,
        title=title,
    )


def _refused_table(result: Result, *, width: int) -> Table:
    rows = [(refused.name, refused.reason, refused.message) for refused in result.refused]
    headers = ("CLAIM", "REASON", "WHAT THE BROKER SAID")
    return grid(headers, rows, whole=("CLAIM", "REASON"), width=width, title="Refused at the door")


def _leave_all_claims(claims: Sequence[Claim], file: Path) -> None:
    with file.open("w", encoding="utf-8") as text:
        Console(file=text, width=300, no_color=True, highlight=False, markup=False).print(
            claims_table(claims, title=f"{len(claims)} claims: {tally(claims)}")
        )


def _next(console: Console, *, address: str, kept: bool) -> None:
    """What to type now, the way this program was started."""
    program = _program()
    if kept:
        console.print("\nNext, in another terminal:")
        lines = [f"export BROKER_ADDRESS={address} BROKER_TENANT=research"]
    else:
        console.print(
            f"\nNext: {program} demo --keep leaves all this running. Or a broker of your own:", soft_wrap=True
        )
        console.print(f"  {program} serve    (keep it running; the rest in another terminal)", soft_wrap=True)
        lines = ["export BROKER_TENANT=research", f"{program} fleet apply --default"]
    lines += [f"{program} {line}" for line in SUGGESTED]
    console.print("\n".join(f"  {line}" for line in lines), soft_wrap=True)
    if kept:
        console.print(f"\nServing on {address}; Ctrl-C stops it.")


def _program() -> str:
    started = Path(sys.argv[0])
    if started.name != "broker":
        return f"{os.path.relpath(sys.executable)} -m broker"
    return "broker" if shutil.which("broker") else os.path.relpath(started)


def _worth(claim: Claim) -> int:
    return claim.value_microusd


def _device_hours(claim: Claim) -> int:
    return sum(p.devices * (p.end_time.seconds - p.start_time.seconds) // 3600 for p in claim.placements)


def _tenant(claim: Claim) -> str:
    return claim.name.split("/")[1]
