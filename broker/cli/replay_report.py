"""What a replay prints: what was served, and whether every promise was kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capacitybroker import TIER_GUARANTEED, TIER_SPOT, TIER_STANDARD, Calibration, Claim, Reason, Tier
from rich.console import Console
from rich.table import Table

from broker.cli.expected import calibration_table
from broker.cli.show import grid, word

__all__ = ["Replayed", "report"]

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Refused:
    """A claim that was not taken: its tier, what it offered, and the stable reason."""

    tier: Tier.ValueType
    value_microusd: int
    reason: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome of a replay; ``violations`` are the checker's, of all that was served over the whole window."""

    claims: Mapping[int, Claim]
    refused: Mapping[int, Refused]
    submitted: int
    broken: tuple[str, ...]
    plans: int
    plans_rejected: int
    plans_unseen: int
    violations: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    files: tuple[Path, ...]
    seconds: float

    @property
    def answered(self) -> int:
        """Claims that were served to the end, or were refused or not served, with a reason."""
        return len(self.refused) + sum(
            claim.state == Claim.STATE_ENDED or (claim.state == Claim.STATE_EXPIRED and bool(claim.reasons))
            for claim in self.claims.values()
        )

    @property
    def good(self) -> bool:
        """Whether all claims were answered, all promises kept and all plans accepted."""
        sound = not (self.broken or self.plans_rejected or self.plans_unseen or self.violations)
        return sound and self.answered == self.submitted


def report(console: Console, replayed: Replayed) -> None:
    """Print it."""
    console.print(_tiers(replayed))
    console.print()
    for name, count in Counter(_reasons(replayed)).most_common():
        console.print(f"not served: {count:,} because {name}")
    console.print(f"claims answered: {replayed.answered:,} of {replayed.submitted:,}")
    console.print(f"promises broken: {len(replayed.broken):,}")
    for fault in replayed.broken[:SHOWN]:
        console.print(f"  {fault}")
    unseen = f", {replayed.plans_unseen:,} not captured" if replayed.plans_unseen else ""
    console.print(f"plans checked: {replayed.plans:,}, rejected {replayed.plans_rejected:,}{unseen}")
    console.print(f"outcome of the whole window: {'accepted' if not replayed.violations else 'REJECTED'}")
    for violation in replayed.violations[:SHOWN]:
        console.print(f"  {violation}")
    console.print()
    console.print(calibration_table(replayed.calibrations))
    console.print()
    console.print(f"wall time: {replayed.seconds:.0f} s")
    for file in replayed.files:
        console.print(f"  {file}")


def _reasons(replayed: Replayed) -> Iterator[str]:
    """Why each claim that was not served was not."""
    for claim in replayed.claims.values():
        if claim.state != Claim.STATE_ENDED:
            yield word(Reason, claim.reasons[0].reason) if claim.reasons else "nobody knows"
    yield from (refused.reason.replace("_", " ").lower() + ", refused at once" for refused in replayed.refused.values())


def _tiers(replayed: Replayed) -> Table:
    numbers = ("CLAIMS", "SERVED", "VALUE OFFERED", "VALUE SERVED", "SHARE")
    claims: list[Claim | Refused] = [*replayed.claims.values(), *replayed.refused.values()]
    tiers = (TIER_GUARANTEED, TIER_STANDARD, TIER_SPOT)
    rows = [(word(Tier, tier), *_sums([claim for claim in claims if claim.tier == tier])) for tier in tiers]
    styles = [*([None] * len(rows)), "bold"]
    title = "Served, in weighted node-hours"
    return grid(("TIER", *numbers), [*rows, ("all", *_sums(claims))], right=numbers, styles=styles, title=title)


def _sums(claims: Sequence[Claim | Refused]) -> tuple[str, ...]:
    served = [claim for claim in claims if isinstance(claim, Claim) and claim.state == Claim.STATE_ENDED]
    offered = sum(claim.value_microusd for claim in claims) // 1_000_000
    value = sum(claim.value_microusd for claim in served) // 1_000_000
    share = f"{100 * value / offered:.1f} %" if offered else "-"
    return f"{len(claims):,}", f"{len(served):,}", f"{offered:,}", f"{value:,}", share
