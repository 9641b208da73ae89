"""Whole racks kept free by moving a few of those that are merely planned: how much room that makes, and for whom.

    python -m bench.defragment [--markets 40] [--seed 1] [--moves 4] [--later 0] [--load 0.7] [--solver greedy|search]
                               [--states 4] [--weeks 3]

Each market is a hall of racks, half the time a second one, and nodes. Over three weeks claims come for the weeks
ahead, and one in six is withdrawn before it starts, which leaves holes. Now and then comes a gang of whole racks that
can wait a day at most, and is admitted at once or never. Every six hours it is planned. Each market is told twice, with
the moves and without, with the same claims and withdrawals; `broker.ledger.fold.violations` judges the log of each.

Beside that, each plan of the first ``--states`` markets that moves anybody is looked at alone: the open room
(`broker.optimiser.open_room`, in per cent of empty pools) before, after so many moves, the most that is found with any
number of moves, by trying them in many orders, and a bound: were all gone who may move.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from broker.domain.claim import Ask, Cancelled, Claim, ClaimName, Tier, Waiting
from broker.domain.fleet import Delivery, Fleet, Pool, PoolKind, Silicon, Tenant, WorkloadClass
from broker.domain.plan import PlanRecord
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS, Window
from broker.domain.snapshot import Event, EventKind, Snapshot
from broker.domain.terms import Terms
from broker.ledger.fold import Market, violations
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled, compile_problem
from broker.optimiser.defragment import Defragmented, Leeway, defragment, movable
from broker.optimiser.outcome import outcome
from broker.optimiser.problem import Plan
from broker.optimiser.room import Room
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit

__all__ = ["SOLVERS", "Told", "told"]

DAY, WEEK = 24, 168
TOLD = 3 * WEEK  # hours
STEP = 6
HORIZON = 8 * WEEK
RACK, NODE = 72, 8
SEARCH_WORK = 10
LOAD, URGENT_LOAD = 0.7, 0.15  # of the racks
ORDERS = 6  # tried for the most that any number of moves can make
WAITS = (Because(Reason.AWAITING_PLAN, "No plan has looked at the claim yet."),)
NO_PLACE = Because(Reason.OUTBID, "Others have the room.")

Solver = Callable[[Compiled], Plan]


def greedy(compiled: Compiled) -> Plan:
    """What stands, and the others in order wherever they fit first."""
    plan = _standing(compiled)
    room = Room(compiled.problem, plan)
    for row, request in enumerate(compiled.requests):
        ways = [(room.soonest(row, k), k) for k in range(len(request.options)) if plan.option[row] < 0]
        starts = [(start, k) for start, k in ways if start is not None]
        if starts:
            plan.start[row], plan.option[row] = min(starts)
            room.put(row, 1)
    return plan


def search(compiled: Compiled) -> Plan:
    """What the optimiser finds with a small budget of work."""
    return solve(compiled.problem, stop=WorkLimit(SEARCH_WORK), seed=1, hint=_standing(compiled)).plan


SOLVERS: dict[str, Solver] = {"greedy": greedy, "search": search}


@dataclass(slots=True)
class Told:
    """What became of one market; ``rooms``: per cent before, after, most found, and bound, of each plan with moves."""

    urgent: int = 0
    admitted: int = 0
    admitted_racks_hours: int = 0
    others: int = 0
    served: int = 0
    late_hours: int = 0
    plans: int = 0
    moves: int = 0
    longest: float = 0.0  # seconds that finding the moves took
    rooms: list[tuple[float, float, float, float]] = field(default_factory=list)
    room: list[float] = field(default_factory=list)  # per cent, after each plan
    wrong: tuple[str, ...] = ()


def told(
    seed: int, leeway: Leeway, solver: Solver, *, load: float = LOAD, most: bool = False, hours: int = TOLD
) -> Told:
    """One market from beginning to end; ``most``: look for the most room as well, which takes long."""
    world, out = _World(seed, leeway, load), Told()
    for hour in range(0, hours, STEP):
        world.slot = hour
        urgent = world.come(hour)
        world.withdraw(hour)
        world.plan(solver, out, most=most)
        for name in urgent:
            claim = world.market.claims[name]
            out.urgent += 1
            if claim.placements:
                out.admitted += 1
                out.admitted_racks_hours += claim.ask.devices // RACK * claim.ask.slots
            else:
                world.cancel(claim)
    for claim in world.market.claims.values():
        if claim.name.id[0] == "c" and not isinstance(claim.state, Cancelled):
            out.others += 1
            out.served += bool(claim.placements)
            out.late_hours += max([0, *(p.window.first - claim.ask.earliest for p in claim.placements)])
    out.wrong = (*world.wrong, *violations(world.log))
    return out


class _World:
    """A market that lives in its log; what comes to it depends on its seed alone."""

    def __init__(self, seed: int, leeway: Leeway, load: float) -> None:
        self.chance = random.Random(f"market {seed}")  # noqa: S311 - the same words, the same market
        self.slot, self.log, self.market, self.leeway = 0, list[Event](), Market(), leeway
        self.wrong: tuple[str, ...] = ()
        halls = [self.chance.randint(8, 24) for _ in range(self.chance.choice((1, 2)))]
        self.racks, self.nodes = max(halls), self.chance.randint(8, 32)
        self._all_racks, self._load = sum(halls), load
        self._owed = self._urgent = 0.0  # rack-hours of claims to come
        made = Fleet(
            silicon=(Silicon("gb200"),),
            workload_classes=(WorkloadClass("training", {"gb200": 100}),),
            pools=(
                *(_pool(f"hall-{n}", RACK, 4, size) for n, size in enumerate(halls)),
                _pool("nodes", NODE, NODE, self.nodes),
            ),
            tenants=(Tenant("a", None), Tenant("b", None)),
        )
        self.market.books.set_limits(made.limits())
        self.add(EventKind.FLEET_APPLIED, (), fleet=made, shortfalls=())
        self._leaves: dict[ClaimName, int] = {}

    def come(self, hour: int) -> list[ClaimName]:
        """Claims for the weeks ahead; those that cannot wait are told."""
        self._owed += self._load * self._all_racks * STEP * (8 if not hour else 1)
        while self._owed > 0:
            asked = self._ask(hour)
            name = ClaimName(self.chance.choice("ab"), f"c{len(self.market.claims)}")
            self._owed -= asked.slots * -(-asked.devices // RACK)
            if self.chance.random() < 1 / 6:
                self._leaves[name] = hour + self.chance.randint(1, 4 * DAY)
            self._submit(name, asked)
        urgent = []
        self._urgent += URGENT_LOAD * self._all_racks * STEP * (hour >= 2 * DAY)
        while self._urgent > 0:
            racks = max(1, self.racks * self.chance.choice((1, 2, 2, 4)) // 8)
            devices, slots = RACK * racks, self.chance.choice((DAY, DAY, 3 * DAY, WEEK))
            start = hour + self.chance.randint(1, 5 * DAY)
            value = 20_000_000 * devices * slots
            asked = Ask("training", devices, slots, start, Tier.STANDARD, value, gang=True, whole_domains=True)
            urgent.append(ClaimName("a", f"u{len(self.market.claims)}"))
            self._submit(urgent[-1], replace(asked, latest=start + DAY))
            self._urgent -= racks * slots
        return urgent

    def _ask(self, hour: int) -> Ask:
        chance = self.chance
        whole = chance.random() < 0.5
        devices = RACK * chance.choice((1, 1, 2, 2, 4, 6)) if whole else NODE * chance.choice((1, 1, 2, 4, 6))
        slots = chance.choice((12, DAY, 2 * DAY, 3 * DAY, 5 * DAY))
        start = hour + chance.randint(1, 12 * DAY)
        tier = chance.choice((Tier.STANDARD, Tier.STANDARD, Tier.GUARANTEED, Tier.SPOT))
        asked = Ask("training", devices, slots, start, tier, 6_000_000 * devices * slots, gang=True)
        return replace(asked, whole_domains=whole, latest=start + chance.choice((DAY, 3 * DAY, WEEK, 2 * WEEK)))

    def _submit(self, name: ClaimName, asked: Ask) -> None:
        at = self.slot * SLOT_SECONDS
        self.add(EventKind.SUBMITTED, (Claim(name, asked, Waiting(WAITS), at, at),))

    def withdraw(self, hour: int) -> None:
        """Those leave whose time has come and who have not started."""
        for name in [name for name, at in self._leaves.items() if at <= hour]:
            del self._leaves[name]
            claim = self.market.claims.get(name)
            if claim is not None and claim.live and all(p.window.first > hour for p in claim.placements):
                self.cancel(claim)

    def cancel(self, claim: Claim) -> None:
        """The claim is withdrawn."""
        state = Cancelled(claim.used_until(self.slot))
        self.add(EventKind.CANCELLED, (claim.becomes(state, at=self.slot * SLOT_SECONDS),))

    def plan(self, solver: Solver, out: Told, *, most: bool) -> None:
        """A plan, put into force, with its moves."""
        live = sorted((c for c in self.market.claims.values() if c.live), key=lambda claim: claim.name)
        snapshot = Snapshot("i", self.market.revision, self.market.fleet, tuple(live))
        window = Window(self.slot, self.slot + HORIZON)
        compiled = compile_problem(snapshot, window, Terms(), slot=self.slot)
        found = solver(compiled)
        began = time.perf_counter()
        kept = defragment(compiled, found, self.leeway, freeze_slots=1)
        out.longest = max(out.longest, time.perf_counter() - began)
        if most and kept.moved:
            best = max(_percent(kept), _most(compiled, found, self.leeway, self.slot))
            out.rooms.append((_percent(kept, before=True), _percent(kept), best, _bound(compiled, found)))
        self.wrong += check(compiled.problem, kept.plan).violations
        out.plans, out.moves = out.plans + 1, out.moves + len(kept.moved)
        out.room.append(_percent(kept))
        at = self.slot * SLOT_SECONDS
        why = dict.fromkeys(range(len(compiled.requests)), NO_PLACE)
        decided = outcome(compiled, kept.plan, why, freeze_slots=1, at=at, defragmented=kept.moved)
        record = PlanRecord(self.market.revision, window, False, 0, 0, 0, len(live), decided.placed, decided.moved, at)
        self.add(EventKind.PLANNED, decided.changed, plan=record)

    def add(self, kind: EventKind, claims: tuple[Claim, ...], **fields: object) -> None:
        """One more revision."""
        revision = self.market.revision + 1
        stored = tuple(replace(claim, revision=revision, replaced=claim.revision) for claim in claims)
        event = Event(revision, kind, self.slot * SLOT_SECONDS, stored, **fields)  # type: ignore[arg-type]
        self.log.append(event)
        self.market.apply(event)


def _pool(name: str, domain: int, tray: int, domains: int) -> Pool:
    supply = (Delivery(domain * domains),)
    return Pool(name, PoolKind.INTERNAL, "gb200", domain, supply, unit_cost_microusd=400_000, tray_devices=tray)


def _percent(kept: Defragmented, *, before: bool = False) -> float:
    """Open room, over all halls."""
    return float(np.mean([room.before_ppm if before else room.after_ppm for room in kept.rooms])) / 10_000


def _most(compiled: Compiled, plan: Plan, leeway: Leeway, seed: int) -> float:
    """The most open room that any number of moves is seen to make."""
    chance, found = random.Random(seed), 0.0  # noqa: S311 - no secret
    for n in range(ORDERS):
        shaken = plan
        for _ in range(4 * bool(n)):
            few = leeway._replace(moves=chance.randint(1, 3))
            shaken = defragment(compiled, shaken, few, freeze_slots=1).plan
        found = max(found, _percent(defragment(compiled, shaken, leeway._replace(moves=10_000), freeze_slots=1)))
    return found


def _bound(compiled: Compiled, plan: Plan) -> float:
    """Open room, were all gone who may move."""
    without = Plan(plan.option.copy(), plan.start.copy())
    without.option[movable(compiled, plan, 1)] = -1
    return _percent(defragment(compiled, without, Leeway(0), freeze_slots=1))


def _standing(compiled: Compiled) -> Plan:
    """The plan in force; nothing is ever lost here."""
    return compiled.problem.in_force() or Plan.empty(len(compiled.requests))


def _print_side(name: str, side: list[Told]) -> None:
    urgent, admitted = sum(one.urgent for one in side), sum(one.admitted for one in side)
    served, moves, plans = (sum(counts) for counts in zip(*((m.served, m.moves, m.plans) for m in side), strict=True))
    print(
        f"{name}: {admitted:,} of {urgent:,} urgent gangs admitted,"
        f" {sum(one.admitted_racks_hours for one in side):,} rack-hours;"
        f" {served:,} of {sum(one.others for one in side):,} others served,"
        f" {sum(one.late_hours for one in side) / max(1, served):.1f} h after their earliest start on average;"
        f" open room {np.mean([room for one in side for room in one.room]):.2f} %;"
        f" {moves:,} moves in {plans:,} plans, {max(one.longest for one in side):.2f} s at most"
    )


def main(arguments: list[str] | None = None) -> None:
    """Tell so many markets with moves and without, and what they have in common."""
    parser = argparse.ArgumentParser(prog="bench.defragment", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--markets", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1, help="of the first market")
    parser.add_argument("--moves", type=int, default=Leeway().moves, help="at most, with one plan")
    parser.add_argument("--later", type=int, default=Leeway().later, help="hours that a placement may end later")
    parser.add_argument("--load", type=float, default=LOAD, help="share of the racks that is asked for ahead of time")
    parser.add_argument("--weeks", type=int, default=TOLD // WEEK, help="that a market is told for")
    parser.add_argument("--states", type=int, default=4, help="markets of which each plan is looked at alone")
    parser.add_argument("--solver", choices=SOLVERS, default="greedy")
    given = parser.parse_args(arguments)
    leeway, began = Leeway(given.moves, later=given.later), time.perf_counter()
    hours = given.weeks * WEEK
    solver, seeds = SOLVERS[given.solver], range(given.seed, given.seed + given.markets)
    pairs = [[told(seed, one, solver, load=given.load, hours=hours) for one in (Leeway(0), leeway)] for seed in seeds]
    _print_side("without moves", [pair[0] for pair in pairs])
    _print_side("with moves", [pair[1] for pair in pairs])
    rooms = [
        room
        for seed in seeds[: given.states]
        for room in told(seed, leeway, solver, load=given.load, most=True, hours=hours).rooms
    ]
    if rooms:
        before, after, most, bound = np.mean(rooms, axis=0)
        print(
            f"{len(rooms):,} plans with moves: open room {before:.2f} % before, {after:.2f} % after,"
            f" {most:.2f} % the most found with any number of moves, {bound:.2f} % were all gone who may move"
        )
    failed = [line for pair in pairs for one in pair for line in one.wrong]
    print(*failed[:3], sep="\n", end="")
    print(f"{len(failed):,} rules broken; {time.perf_counter() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
