"""What insurance buys on the default fleet: each pool in turn is lost for a day, with reserves and without.

    python -m bench.insurance [--load 1.1] [--seconds 10] [--repair-seconds 5] [--seeds 1 2 3]

Claims are those of the demo, as many as make the load: their device-hours, each at the option that takes fewest, over
those of the fleet for four weeks. The planner plans them with a real ledger in memory and a clock that is set. Then,
for each pool, the clock goes to the day on which guaranteed work holds most of it, the pool is gone for that day, and
the planner plans once. Claims run by then, and run on elsewhere for what is left of them.

Three fleets: without insurance; with it; and one that is insured only when the pool is gone already, which tells what
giving way does by itself from what keeping room does.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from broker.cli.fleet_file import default_fleet_text, fleet_from_text
from broker.cli.sample_claims import sample_claims
from broker.domain.claim import Claim, ClaimName, Tier, Waiting
from broker.domain.fleet import Fleet, Maintenance
from broker.domain.insurance import Insurance, LossKind
from broker.domain.options import options
from broker.domain.plan import PlanRecord
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS, Window
from broker.ledger.memory import MemoryLedger
from broker.ledger.port import RequestKey
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.report import Earlier, Solved
from broker.optimiser.solve import solve
from broker.optimiser.stop import SecondsLimit, Stop, WorkLimit
from broker.optimiser.warm import warm
from broker.planner import Planner, PlannerSettings
from broker.transport.asks import ask
from broker.transport.fleets import fleet as fleet_of

__all__ = ["ANY_ONE_POOL", "Ordeal", "Trial", "default_fleet", "demo_claims", "ordeal", "planned"]

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 28
OUTAGE_SLOTS = 24
ANY_ONE_POOL = Insurance("any-one-pool", LossKind.ANY_ONE_POOL)


@dataclass(slots=True)
class _Solver:
    """Solves on a thread of this process; by work if there is a limit, so that it can be repeated, else by time."""

    work: int | None = None

    async def solve(
        self, problem: Problem, *, seconds: float, seed: int, hint: Plan | None, earlier: Earlier | None = None
    ) -> Solved:
        """See `broker.planner.Solver`."""
        stop: Stop = SecondsLimit(seconds, time.perf_counter) if self.work is None else WorkLimit(self.work)
        return await asyncio.to_thread(solve, problem, stop=stop, seed=seed, hint=hint, earlier=earlier)


@dataclass(frozen=True, slots=True)
class Trial:
    """A market that is planned: the ledger, the fleet in force, and the plan."""

    ledger: MemoryLedger
    fleet: Fleet
    record: PlanRecord


@dataclass(frozen=True, slots=True)
class Ordeal:
    """What the loss of a pool did to claims, once one plan had answered it; ``hit`` held the pool in the window."""

    pool: str
    window: Window
    hit: dict[Tier, int]
    again: dict[Tier, int]  # of those, served again
    lost: tuple[ClaimName, ...]  # guaranteed, hit or not, that had all their places and have them no longer
    gave_way: int  # others, not hit, that have no place any more
    seconds: float


def default_fleet(insurance: Sequence[Insurance] = ()) -> Fleet:
    """The fleet that comes with the broker, and what it is insured against."""
    return replace(fleet_of(fleet_from_text(default_fleet_text(), today=START)), insurance=tuple(insurance))


def demo_claims(fleet: Fleet, load: float, seed: int) -> list[Claim]:
    """Claims as the demo makes them, until they make the load."""
    start = int(START.timestamp())
    window = Window(start // SLOT_SECONDS, start // SLOT_SECONDS + DAYS * 24)
    supply = sum(sum(pool.supply().over(window)) for pool in fleet.pools)
    made, wanted = list[Claim](), 0
    waiting = Waiting((Because(Reason.AWAITING_PLAN, "No plan has looked at the claim yet."),))
    for turn in range(1_000):
        for asking in sample_claims(seed=1_000 * seed + turn, start=START, days=DAYS):
            asked = ask(asking.claim)
            least = min((way.devices * way.slots for way in options(asked, fleet)), default=0)
            if wanted + least > load * supply:
                return made
            wanted += least
            name = ClaimName(asking.tenant, f"{asking.id}-{turn}")
            made.append(Claim(name, asked, waiting, start, start))
    return made


async def planned(fleet: Fleet, claims: Iterable[Claim], *, seconds: float, work: int | None = None) -> Trial:
    """The claims, planned once."""
    ledger = MemoryLedger(incarnation="bench", monotonic=time.monotonic)
    start = int(START.timestamp())
    await ledger.apply_fleet(fleet, key=RequestKey("-", "ApplyFleet", "fleet", ""), at=start, dry_run=False)
    for n, claim in enumerate(claims):
        await ledger.submit(claim, key=RequestKey(claim.name.tenant, "CreateClaim", str(n), ""), at=start)
    return Trial(ledger, fleet, await _cycle(ledger, start, seconds, work))


async def ordeal(
    trial: Trial, pool: str, *, seconds: float, work: int | None = None, insurance: Sequence[Insurance] | None = None
) -> Ordeal | None:
    """The loss of a pool on the day on which guaranteed work holds most of it; None where it holds nothing."""
    ledger = copy.deepcopy(trial.ledger)
    before = {claim.name: claim for claim in (await ledger.snapshot()).claims if claim.placements}
    window = _busiest(before.values(), pool)
    if window is None:
        return None
    at = window.first * SLOT_SECONDS
    gone = Maintenance(max(trial.fleet.pools_by_id[pool].supply().over(window)), at, window.end * SLOT_SECONDS)
    pools = (replace(p, maintenance=(*p.maintenance, gone)) if p.id == pool else p for p in trial.fleet.pools)
    struck = replace(trial.fleet, pools=tuple(pools))
    if insurance is not None:
        struck = replace(struck, insurance=tuple(insurance))
    await ledger.apply_fleet(struck, key=RequestKey("-", "ApplyFleet", "outage", ""), at=at, dry_run=False)
    record = await _cycle(ledger, at, seconds, work)
    after = {claim.name: claim for claim in (await ledger.snapshot()).claims}
    hit = {name for name, claim in before.items() if _holds(claim, pool, window)}
    live = {name for name, claim in before.items() if any(p.window.end > window.first for p in claim.placements)}
    served = {name for name in live if name in after and _served(before[name], after[name], window.first)}
    tiers = {name: claim.ask.tier for name, claim in before.items()}
    return Ordeal(
        pool,
        window,
        hit={tier: sum(tiers[name] is tier for name in hit) for tier in Tier},
        again={tier: sum(tiers[name] is tier for name in hit & served) for tier in Tier},
        lost=tuple(sorted(name for name in live - served if tiers[name] is Tier.GUARANTEED)),
        gave_way=len(live - served - hit),
        seconds=record.solve_millis / 1000,
    )


async def _cycle(ledger: MemoryLedger, at: int, seconds: float, work: int | None) -> PlanRecord:
    settings = PlannerSettings(horizon_slots=49 * 24, commit_claims_max=1_000_000, history_events=0)
    planner = Planner(ledger, _Solver(work), lambda: at, "bench", settings)
    fence = await ledger.lead("bench", ttl_millis=3_600_000)
    assert fence is not None
    return await planner.cycle(fence, seconds=seconds)


def _busiest(claims: Iterable[Claim], pool: str) -> Window | None:
    """The day on which guaranteed claims hold most of the pool."""
    use: dict[int, int] = {}
    for claim in claims:
        for place in claim.placements:
            if claim.ask.tier is Tier.GUARANTEED and place.pool == pool:
                for slot in range(place.window.first, place.window.end):
                    use[slot] = use.get(slot, 0) + place.devices
    if not use:
        return None
    first = max(use, key=lambda slot: (sum(use.get(slot + n, 0) for n in range(OUTAGE_SLOTS)), -slot))
    return Window(first, first + OUTAGE_SLOTS)


def _holds(claim: Claim, pool: str, window: Window) -> bool:
    return any(p.pool == pool and p.window.first < window.end and window.first < p.window.end for p in claim.placements)


def _served(before: Claim, after: Claim, now: int) -> bool:
    """Whether every part that was still to be served is."""
    parts = {p.part for p in before.placements if p.window.end > now}
    return after.live and parts <= {p.part for p in after.placements}


def _shown(name: str, trial: Trial) -> str:
    record = trial.record
    return (
        f"{name}: {record.placed} of {record.claims} claims placed, worth ${record.objective_microusd / 1e6:,.0f}, "
        f"bound ${record.bound_microusd / 1e6:,.0f}"
    )


def _row(one: Ordeal | None, name: str) -> str:
    if one is None:
        return f"    {name:<18} holds no guaranteed work"
    parts = ", ".join(f"{tier.value.lower()} {one.again[tier]}/{one.hit[tier]}" for tier in Tier)
    return f"    {name:<18} {parts}; {len(one.lost)} guaranteed lost, {one.gave_way} others gave way"


async def _run(load: float, seed: int, seconds: float, repair_seconds: float) -> int:
    bare, insured = default_fleet(), default_fleet((ANY_ONE_POOL,))
    claims = demo_claims(bare, load, seed)
    without = await planned(bare, claims, seconds=seconds)
    safe = await planned(insured, claims, seconds=seconds)
    sure = sum(claim.ask.tier is Tier.GUARANTEED for claim in claims)
    print(f"load {load:g}, seed {seed}: {len(claims)} claims, {sure} of them guaranteed")
    for name, trial in (("without", without), ("with", safe)):
        held = [c for c in (await trial.ledger.snapshot()).claims if c.placements]
        count = sum(claim.ask.tier is Tier.GUARANTEED for claim in held)
        print(f"  {_shown(name, trial)}; {count} guaranteed")
        for cost in trial.record.insurance:
            print(
                f"    {cost.pools[0]:<12} {cost.insured} of {cost.hit} have a berth, {cost.uninsurable} never could; ",
                end="",
            )
            print(f"at most ${cost.at_most_microusd / 1e6:,.0f} at the prices of the plan")
    given_up = without.record.objective_microusd - safe.record.objective_microusd
    print(f"  given up: ${given_up / 1e6:,.0f}, {100 * given_up / without.record.objective_microusd:.2f} % of the plan")
    lost = 0
    for pool in bare.pools:
        print(f"  {pool.id}")
        one = await ordeal(without, pool.id, seconds=repair_seconds)
        print(_row(one, "without"), flush=True)
        late = await ordeal(without, pool.id, seconds=repair_seconds, insurance=(ANY_ONE_POOL,))
        print(_row(late, "insured afterwards"), flush=True)
        kept = await ordeal(safe, pool.id, seconds=repair_seconds)
        print(_row(kept, "with"), flush=True)
        lost += len(kept.lost) if kept is not None else 0
    return lost


def main() -> int:
    """Measure what the command line asks for; 1 when an insured market lost guaranteed work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=float, default=1.1)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repair-seconds", type=float, default=5)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    warm()
    lost = [asyncio.run(_run(args.load, seed, args.seconds, args.repair_seconds)) for seed in args.seeds]
    return int(any(lost))


if __name__ == "__main__":
    sys.exit(main())
