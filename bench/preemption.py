"""Random markets in which spot work gives way: is everybody told as seldom as may be, and does it come to rest?

    python -m bench.preemption [--cases 1000] [--seed 0] [--solver greedy|cruel|search]

In each case claims of all tiers come over some hours to one or two small pools, some are withdrawn, and devices come
and go. Every hour it is planned, with all that the planner does but talk to a store, and planned again until nothing
changes. The log of the whole is judged by `broker.ledger.fold.violations`. What the search itself finds is of little
importance here and costs most of the time, so by default something simpler stands in for it:

- ``greedy`` keeps what stands and puts the others where they fit first; it ends no run, which is left to what follows;
- ``cruel`` ends runs at random whenever it may, and then does the same: whatever a search does, promises are kept.
  Planned again it does something else, so it is not asked to come to rest;
- ``search`` is the real one, with a small budget of work.

A case that fails prints its seed. Exits with 1 if any did.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from broker.domain.claim import Ask, Cancelled, Claim, ClaimName, Preemption, Tier, Waiting
from broker.domain.fleet import Delivery, Fleet, Pool, PoolKind, Silicon, Tenant, WorkloadClass
from broker.domain.plan import PlanRecord
from broker.domain.preemption import PREEMPTIONS_MAX, preemptions
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS, Window
from broker.domain.snapshot import Event, EventKind, Snapshot
from broker.domain.terms import Terms
from broker.ledger.fold import Market, violations
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled, compile_problem
from broker.optimiser.outcome import outcome
from broker.optimiser.problem import Plan
from broker.optimiser.room import Room
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit
from broker.optimiser.takeover import make_way

__all__ = ["SOLVERS", "Tale", "tale"]

HOURS = 10  # in which claims come
REST = 4  # hours after that
HORIZON = 40
ROUNDS_MAX = 4
SEARCH_WORK = 20  # units
WAITS = (Because(Reason.AWAITING_PLAN, "No plan has looked at the claim yet."),)
NO_PLACE = Because(Reason.OUTBID, "Others have the room.")

Solver = Callable[[Compiled, random.Random], Plan]


@dataclass(slots=True)
class Tale:
    """What became of one market; ``rounds`` counts the plans of each hour until one changed nobody's place."""

    claims: int = 0
    told: int = 0  # times that a claim was told to give way
    lent_told: int = 0  # of them claims on loan
    lent: int = 0  # spot claims that ran on loan, and all that ran
    ran: int = 0
    told_most: int = 0  # of them the same claim
    rounds: Counter[int] = field(default_factory=Counter)
    wrong: tuple[str, ...] = ()


def greedy(compiled: Compiled, _: random.Random) -> Plan:
    """What stands, and the others in order wherever they fit first."""
    return _filled(compiled, _standing(compiled))


def cruel(compiled: Compiled, chance: random.Random) -> Plan:
    """The same after some of those that may end sooner do, at random."""
    plan = _standing(compiled)
    for row, request in enumerate(compiled.requests):
        if request.ends is not None and chance.random() < 0.7:
            plan.option[row] = 1
    return _filled(compiled, plan)


def search(compiled: Compiled, _: random.Random) -> Plan:
    """What the optimiser finds."""
    return solve(compiled.problem, stop=WorkLimit(SEARCH_WORK), seed=1, hint=_standing(compiled)).plan


SOLVERS: dict[str, Solver] = {"greedy": greedy, "cruel": cruel, "search": search}


def tale(seed: int, solver: Solver, *, again: bool = True) -> Tale:
    """One random market from beginning to end; ``again``: planning again has to change nothing sooner or later."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    world = _World(chance)
    out = Tale()
    for hour in range(HOURS + REST):
        if hour < HOURS:
            for _ in range(4 if not hour else chance.choice((0, 1, 1, 2))):
                world.ask(_ask(chance, world.slot))
            world.disturb()
        rounds = 1
        while world.plan(solver) and again:
            rounds += 1
            if rounds > ROUNDS_MAX:
                out.wrong += (f"slot {world.slot}: plans go on changing places",)
                break
        out.rounds[rounds - 1] += 1
        world.slot += 1
    claims = world.market.claims.values()
    counts = [preemptions(claim) for claim in claims]
    out.claims, out.told, out.told_most = len(counts), sum(counts), max(counts, default=0)
    out.lent_told = sum(preemptions(claim) for claim in claims if claim.ask.on_loan)
    ran = [claim for claim in claims if claim.ask.tier is Tier.SPOT and claim.holds()]
    out.ran, out.lent = len(ran), sum(claim.ask.on_loan for claim in ran)
    if out.told_most > PREEMPTIONS_MAX:
        out.wrong += (f"a claim was told {out.told_most} times",)
    out.wrong += (*world.wrong, *violations(world.log))
    return out


class _World:
    """A market that lives in its log."""

    def __init__(self, chance: random.Random) -> None:
        self.slot, self.log, self.market = 0, list[Event](), Market()
        self.wrong: tuple[str, ...] = ()
        self._chance = chance
        self._sizes = [chance.randint(6, 12) for _ in range(chance.choice((1, 1, 1, 2)))]
        self._quota = chance.choice((None, None, None, chance.randint(4, 12)))
        self._loans = chance.choice((None, chance.randint(2, 12)))
        self.declare()

    def declare(self) -> None:
        """The fleet as it is now."""
        made = Fleet(
            silicon=(Silicon("b200"),),
            workload_classes=(WorkloadClass("training", {"b200": 100}),),
            pools=tuple(
                Pool(f"p{n}", PoolKind.INTERNAL, "b200", 1, (Delivery(size),)) for n, size in enumerate(self._sizes)
            ),
            tenants=(Tenant("a", self._quota, "", self._loans), Tenant("b", None, "", 4)),
        )
        books = self.market.books
        books.set_limits(made.limits())
        self._add(EventKind.FLEET_APPLIED, (), fleet=made, shortfalls=books.shortfalls(from_slot=self.slot))

    def ask(self, asked: Ask) -> None:
        """One more claim."""
        name = ClaimName(self._chance.choice("ab"), f"c{len(self.market.claims)}")
        at = self.slot * SLOT_SECONDS
        self._add(EventKind.SUBMITTED, (Claim(name, asked, Waiting(WAITS), at, at),))

    def disturb(self) -> None:
        """Now and then somebody withdraws, or a pool changes."""
        live = [claim for claim in self.market.claims.values() if claim.live]
        if live and self._chance.random() < 0.1:
            gone = self._chance.choice(live)
            state = Cancelled(gone.used_until(self.slot))
            self._add(EventKind.CANCELLED, (gone.becomes(state, at=self.slot * SLOT_SECONDS),))
        if self._chance.random() < 0.03:
            self._loans = self._chance.choice((None, self._chance.randint(2, 12)))
            self.declare()
        if self._chance.random() < 0.05:
            n = self._chance.randrange(len(self._sizes))
            self._sizes[n] = self._chance.randint(2, 16)
            self.declare()

    def plan(self, solver: Solver) -> bool:
        """A plan, put into force; whether it changed anybody's place."""
        live = sorted((c for c in self.market.claims.values() if c.live), key=lambda claim: claim.name)
        snapshot = Snapshot("i", self.market.revision, self.market.fleet, tuple(live))
        window = Window(self.slot, self.slot + HORIZON)
        compiled = compile_problem(snapshot, window, Terms(), slot=self.slot)
        plan = make_way(compiled, solver(compiled, self._chance))
        self.wrong += check(compiled.problem, plan).violations
        at = self.slot * SLOT_SECONDS
        why = dict.fromkeys(range(len(compiled.requests)), NO_PLACE)
        decided = outcome(compiled, plan, why, freeze_slots=1, at=at)
        before = {claim.name: claim for claim in live}
        record = PlanRecord(self.market.revision, window, False, 0, 0, 0, len(live), decided.placed, decided.moved, at)
        self._add(EventKind.PLANNED, decided.changed, plan=record)
        return any((c.placements, c.ran) != (before[c.name].placements, before[c.name].ran) for c in decided.changed)

    def _add(self, kind: EventKind, claims: tuple[Claim, ...], **fields: object) -> None:
        revision = self.market.revision + 1
        stored = tuple(replace(claim, revision=revision, replaced=claim.revision) for claim in claims)
        event = Event(revision, kind, self.slot * SLOT_SECONDS, stored, **fields)  # type: ignore[arg-type]
        self.log.append(event)
        self.market.apply(event)


def _ask(chance: random.Random, slot: int) -> Ask:
    """Spot work takes its time, the rest is short and mostly cannot wait."""
    tier = chance.choice((Tier.SPOT, Tier.SPOT, Tier.STANDARD, Tier.GUARANTEED))
    spot = tier is Tier.SPOT
    devices, slots = chance.randint(1, 8), chance.randint(4, 24) if spot else chance.randint(1, 5)
    rate = chance.choice((1, 2, 4)) * (1 if spot else chance.choice((1, 6, 20)))
    terms = Preemption(chance.choice((0, 0, 1, 3)), chance.choice((1, 1, 2)), chance.choice((0, 1, 1, 3)))
    patience = chance.choice((None, 8, 20)) if spot else chance.choice((None, 2, 2, 3))
    return Ask(
        "training",
        devices,
        slots,
        slot,
        tier,
        rate * 1_000_000 * devices * slots,
        gang=chance.random() < 0.7,
        deadline=None if patience is None else slot + slots + patience,
        preemption=terms if spot else Preemption(),
        on_loan=spot and chance.random() < 0.3,
    )


def _standing(compiled: Compiled) -> Plan:
    """The plan in force, as far as supply and quotas still allow."""
    requests = compiled.problem.requests
    plan = Plan.empty(len(requests.ids))
    room = Room(compiled.problem, plan)
    # What cannot change is sure of its place: what is short is in rows of its own.
    for row in sorted(range(len(requests.ids)), key=lambda row: not requests.promised[row]):
        option, start = int(requests.current_option[row]), int(requests.current_start[row])
        if option >= 0 and room.fits(row, option, start):
            plan.option[row], plan.start[row] = option, start
            room.put(row, 1)
    return plan


def _filled(compiled: Compiled, plan: Plan) -> Plan:
    room = Room(compiled.problem, plan)
    for row, request in enumerate(compiled.requests):
        for option in range(len(request.options)):
            if plan.option[row] < 0 and (start := room.soonest(row, option)) is not None:
                plan.option[row], plan.start[row] = option, start
                room.put(row, 1)
    return plan


def main(arguments: list[str] | None = None) -> None:
    """Tell so many tales, and what they have in common."""
    parser = argparse.ArgumentParser(prog="bench.preemption", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--solver", choices=SOLVERS, default="greedy")
    given = parser.parse_args(arguments)
    began, rounds, claims, told, most, failed = time.perf_counter(), Counter[int](), 0, Counter[int](), 0, 0
    lent = Counter[str]()  # of spot claims
    for seed in range(given.seed, given.seed + given.cases):
        one = tale(seed, SOLVERS[given.solver], again=given.solver != "cruel")
        rounds += one.rounds
        claims += one.claims
        lent.update(told=one.told, lent_told=one.lent_told, ran=one.ran, lent=one.lent)
        told[min(one.told, 5)] += 1
        most = max(most, one.told_most)
        if one.wrong:
            failed += 1
            print(f"seed {seed}: {one.wrong[0]}")
    print(f"{given.cases:,} markets, {claims:,} claims, {sum(rounds.values()):,} hours; solver: {given.solver}")
    print(f"a claim was told to give way {most} times at most, {PREEMPTIONS_MAX} are allowed")
    print("markets by times that anybody was told: " + ", ".join(f"{n}: {told[n]:,}" for n in sorted(told)))
    ran, times = (f"{lent[some]:,} of {lent[all_]:,}" for some, all_ in (("lent", "ran"), ("lent_told", "told")))
    print(f"on loan: {ran} spot claims that ran, {times} times that one was told")
    print("hours by plans before one changed nothing: " + ", ".join(f"{n}: {rounds[n]:,}" for n in sorted(rounds)))
    print(f"{failed:,} failed; {time.perf_counter() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
