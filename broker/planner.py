"""The back office: one planning cycle after another, for as long as this process holds the planner's lease."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Protocol

from broker import failpoints
from broker.admission.demand import ABOVE, KEEPS, Demand
from broker.admission.displacement import leave
from broker.admission.policy import Policy
from broker.backfill import backfill
from broker.domain.claim import Tier
from broker.domain.faults import Fault, FaultReason, Kind
from broker.domain.plan import PlanRecord
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS, Window, slot_at_or_after, slot_of
from broker.domain.snapshot import Event, EventKind, Snapshot
from broker.domain.terms import Terms
from broker.insured import Insured, costs, insured
from broker.into_force import put_into_force
from broker.ledger.port import Fence, Ledger
from broker.lookout import Lookout, Struck, answered, loses
from broker.on_record import bid_prices, gap, plan_record, with_domains
from broker.optimiser.because import because
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled, compile_problem
from broker.optimiser.defragment import Defragmented, Leeway, defragment
from broker.optimiser.outcome import Outcome, outcome
from broker.optimiser.problem import Plan, Problem, Status
from broker.optimiser.report import Earlier, Solved
from broker.optimiser.spare import gives_way
from broker.optimiser.takeover import make_way
from broker.optimiser.withhold import withhold
from broker.optimiser.worker import SolverLost
from broker.quarantine import Quarantine, accept
from broker.repair import holders, only_moved, repair, unchanged_reasons, unreserved
from broker.rescue import rescue

__all__ = ["Capture", "Planner", "PlannerSettings", "Solver"]

log = logging.getLogger(__name__)

Capture = Callable[[Problem, Solved], None]

LATE_SECONDS_MAX = 60  # a plan may come into force that long after the start of the first hour it fills
FAILURE_SECONDS_MAX = 10.0
REPAIRS_MAX = 3  # at once, where answers at once keep taking the room
HISTORY_EVENTS_AT_ONCE = 20  # decoded between two renewals of the lease, or whatever else is due
ROOM_KEPT = Because(Reason.ROOM_KEPT, "There is room, but it is kept for claims of a higher tier that are expected.")
RESERVED = Because(Reason.RESERVED, "There is room, but guaranteed work would have nowhere to go if a pool were lost.")


class Solver(Protocol):
    """Whatever solves a problem without blocking the event loop."""

    async def solve(
        self, problem: Problem, *, seconds: float, seed: int, hint: Plan | None, earlier: Earlier | None = None
    ) -> Solved:
        """The best plan found in about ``seconds``; with ``earlier`` that one, mended."""
        ...


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """How the planner paces itself."""

    solve_seconds: float = 2.0
    repair_seconds: float = 1.0  # for making room for those whose supply was lost
    horizon_slots: int = 26 * 168
    freeze_slots: int = 1  # a claim is committed once it starts within this many slots
    gather_millis: int = 100  # wait for more events after the first, so that a burst is one plan
    lease_millis: int = 6_000
    seed: int = 1
    terms: Terms = field(default_factory=Terms)
    commit_claims_max: int = 3_000  # more changes than that come into force in several steps
    keeps: Mapping[Tier, float] = field(default_factory=lambda: KEEPS)  # see `broker.admission.policy`
    leeway: Leeway = field(default_factory=Leeway)  # to move what is planned, so that whole domains stay free
    history_events: int = 20_000  # before a planner begins: what it learns from of who asks


@dataclass(slots=True)
class Planner:
    """Plans whenever claims or supply changed, an hour has passed, or somebody asks; only the leader commits."""

    ledger: Ledger
    solver: Solver
    now: Callable[[], int]
    planner_id: str
    settings: PlannerSettings = field(default_factory=PlannerSettings)
    capture: Capture | None = None
    demand: Demand = field(default_factory=Demand)
    aside: Quarantine = field(default_factory=Quarantine)
    _fence: Fence | None = None
    _seen: int = 0
    _repaired: int = 0  # revision up to which places were looked for, for all who lost theirs to an outage
    _planned_slot: int = -1
    _failures: int = 0

    async def run(self) -> None:
        """Plan until cancelled; a store that is away, or another leader, is waited for."""
        lease = asyncio.create_task(self._keep_lease())
        try:
            while True:
                try:
                    await self._turn()
                    self._failures = 0
                except Exception as lost:  # noqa: BLE001 - whatever one claim provokes, the others are planned
                    # What fails for good must not keep the machine busy; what fails for once is soon over.
                    wait = min(FAILURE_SECONDS_MAX, 0.2 * 2 ** min(self._failures, 10))
                    self._failures += 1
                    log.warning("planning cycle given up, again in %.1f s: %s", wait, lost)
                    await asyncio.sleep(wait)
                    if self.aside.suspects(lost):
                        await self.aside.search(self.ledger, self._attempt)
                if lease.done():
                    lease.result()
        finally:
            lease.cancel()
            await asyncio.gather(lease, return_exceptions=True)
            if self._fence is not None:  # or it would take a lease that has just lapsed, from its leader
                with suppress(Fault):
                    # Whoever stands by need not wait for the lease to run out.
                    await self.ledger.lead(self.planner_id, ttl_millis=0)

    async def cycle(self, fence: Fence, *, seconds: float, fleet_revision: int | None = None) -> PlanRecord:
        """One plan, put into force: snapshot, compile, solve, check, explain, commit.

        Raises ``Struck`` when supply is lost before it is solved, since ``fleet_revision`` (None: since now). Faults:
        OVERCOMMIT when the market changed under the plan too much or the plan is too late for the notice that it gives,
        FENCED when another planner leads.
        """
        # 1. What is, at one revision, and the first hour that can still start when the plan is there.
        await self._learn()
        known = await self.ledger.fleet_revision() if fleet_revision is None else fleet_revision
        # 2. As a problem, and a plan to start from: the one in force, or one that saves who is insured.
        compiled, hint = await self._posed(seconds)
        # 3. The best plan in the time there is.
        started = monotonic()
        solving = self.solver.solve(compiled.problem, seconds=seconds, seed=self.settings.seed, hint=hint)
        solved = await Lookout(self.ledger, known).over(solving)
        millis = round(1000 * (monotonic() - started))
        # 4. Believe nothing: a checker that knows no solver has the last word.
        accept(compiled.problem, solved)
        # 5. Leave room for who is insured, and for who is expected; let those give way who have to.
        solved, withheld, sure = await asyncio.to_thread(self._leave_room, compiled, solved)
        solved = await asyncio.to_thread(self._make_way, compiled, solved, frozenset(withheld))
        # 6. Keep whole domains free for who may still come, by a few moves of what is merely planned, at no cost.
        moved, kept = await asyncio.to_thread(self._defragment, compiled, solved)
        # 7. What becomes of each claim, why, and on which domains.
        at = self.now()
        decided = await asyncio.to_thread(self._decide, compiled, moved, withheld, kept.moved, at)
        record = plan_record(compiled, solved, decided, millis, at)
        record = replace(record, rooms=kept.rooms, defragmented=len(kept.moved))
        if sure is not None:
            record = replace(record, insurance=costs(compiled, sure.berths, solved.prices.reserves))
        # 8. One step puts it into force, if this process still leads.
        prices, most = bid_prices(compiled, solved), self.settings.commit_claims_max
        beside = self.aside.untold(at)
        failpoints.reach("before-plan-commit")
        done = await put_into_force(
            self.ledger, decided, record, beside=beside, claims_max=most, fence=fence, at=at, prices=prices
        )
        failpoints.reach("after-plan-commit")
        self.aside.planned()
        self._planned_slot = -1 if done.skipped else slot_at_or_after(at)
        if self.capture is not None:
            await asyncio.to_thread(self.capture, compiled.problem, moved)
        return replace(record, revision=done.revision, skipped=len(done.skipped))

    async def repair(self, fence: Fence) -> PlanRecord | None:
        """A plan, put into force, that only finds places for those whose supply was lost; None when nobody's was.

        Everybody else stays, is told nothing, and waits for the plan of everything that follows. Faults: like `cycle`.
        """
        seconds, seed = self.settings.repair_seconds, self.settings.seed
        compiled = unreserved(await self._compiled(holders(await self.ledger.snapshot()), seconds, tells=False))
        task = await asyncio.to_thread(repair, compiled, await self.ledger.prices(), self.settings.terms)
        if task is None:
            return None
        started, solved = monotonic(), task.aid
        if not task.complete:
            with suppress(SolverLost):  # first aid needs none
                found = self.solver.solve(task.problem, seconds=seconds, seed=seed, hint=None, earlier=task.earlier)
                solved = task.better(await found)
        millis, at = round(1000 * (monotonic() - started)), self.now()
        accept(compiled.problem, solved)
        why = unchanged_reasons(compiled, solved.plan)
        freeze = self.settings.freeze_slots
        decided = await asyncio.to_thread(outcome, compiled, solved.plan, why, freeze_slots=freeze, at=at)
        record = replace(plan_record(compiled, solved, decided, millis, at), repair=True)
        done = await self.ledger.commit(only_moved(compiled, decided), record, fence=fence, at=at)
        return replace(record, revision=done.revision, skipped=len(done.skipped))

    async def _repair_all(self, events: tuple[Event, ...], fence: Fence) -> None:
        """Repair what these events broke; where others keep taking the room, the plan of everything does it."""
        for _ in range(REPAIRS_MAX):
            try:
                done = await self.repair(fence)
            except Fault as fault:
                if fault.reason is not FaultReason.OVERCOMMIT:
                    raise
                continue
            if done is not None:
                log.info("repair %d: %d claims moved, solved in %d ms", done.revision, done.moved, done.solve_millis)
            break
        self._repaired = events[-1].revision

    async def _compiled(self, snapshot: Snapshot, seconds: float, *, tells: bool = True) -> Compiled:
        """The market as a problem whose first slot can still start once ``seconds`` have passed."""
        now, terms = self.now(), self.settings.terms
        first = slot_at_or_after(now + math.ceil(seconds) - LATE_SECONDS_MAX)
        horizon = Window(first, first + self.settings.horizon_slots)
        leaving = await asyncio.to_thread(leave, snapshot.claims, snapshot.fleet, first)
        made = partial(compile_problem, slot=slot_of(now), tells=tells, leaving=leaving)
        return await asyncio.to_thread(made, snapshot, horizon, terms)

    async def _posed(self, seconds: float) -> tuple[Compiled, Plan | None]:
        """The market as a problem, and the plan to start from; where insured work lost its place, one that saves it."""
        compiled = await self._compiled(self.aside.without(await self.ledger.snapshot()), seconds)
        saving = await asyncio.to_thread(rescue, compiled)
        if saving is None:
            return compiled, compiled.problem.in_force()
        # Who gives way may now go elsewhere; rows and options of all others are the same.
        lifted = (compiled.snapshot, compiled.horizon, self.settings.terms, saving.lifted)
        again = partial(compile_problem, slot=compiled.slot, leaving=compiled.leaving)
        return await asyncio.to_thread(again, *lifted), saving.plan

    async def _attempt(self, snapshot: Snapshot, seconds: float) -> None:
        """A plan that nobody is told of; raises whatever keeps it from being made."""
        compiled = await self._compiled(snapshot, seconds)
        problem, seed = compiled.problem, self.settings.seed
        solved = await self.solver.solve(problem, seconds=seconds, seed=seed, hint=problem.in_force())
        accept(compiled.problem, solved)
        await asyncio.to_thread(self._decide, compiled, solved, {}, (), self.now())

    async def _turn(self) -> None:
        """Wait for a reason to plan, then plan."""
        fence = self._fence
        if fence is None:
            await self._learn()
            await asyncio.sleep(0.05)
            return
        # Before the events: what is not among them is looked out for.
        fleet_revision = await self.ledger.fleet_revision()
        events = await self._news()
        if not self._calls_for_plan(events):
            return
        asked = [event.time_limit_seconds for event in events if event.time_limit_seconds]
        try:
            if self._urgent(events) and not (await self.ledger.fleet()).insurance:
                # The plan of everything has its turn next, unless more is lost by then.
                await self._repair_all(events, fence)
                return
            seconds = asked[-1] if asked else self.settings.solve_seconds
            record = await self.cycle(fence, seconds=seconds, fleet_revision=fleet_revision)
        except Struck:
            return
        except Fault as fault:
            if fault.reason is FaultReason.FENCED and self._fence == fence:
                self._fence = None
            # The events are looked at again: what they ask for is still owed.
            raise
        self._seen = max(self._seen, record.based_on_revision)
        if record.skipped:
            self._planned_slot = -1
        log.info(
            "plan %d: %d of %d claims placed, %d moved, gap %.2f %%",
            record.revision,
            record.placed,
            record.claims,
            record.moved,
            100 * gap(record),
        )

    async def _news(self) -> tuple[Event, ...]:
        """Events after the last plan's snapshot; after the first, a moment more so that a burst is one plan."""
        try:
            events = await self.ledger.events(self._seen, limit=10_000, wait_millis=500)
        except Fault as fault:
            if fault.reason is not FaultReason.COMPACTED:
                raise
            # Only whether something happened matters here, not what: the snapshot tells.
            self._seen = await self.ledger.revision()
            self._planned_slot = -1
            return ()
        if not self._asks(events):
            # Nothing here for a planner, so it need not be read twice.
            self._seen = max([self._seen, *(event.revision for event in events)])
            return events
        if not self._urgent(events):
            await asyncio.sleep(self.settings.gather_millis / 1000)
            events = await self.ledger.events(self._seen, limit=10_000)
        return events

    def _calls_for_plan(self, events: tuple[Event, ...]) -> bool:
        return self._asks(events) or slot_at_or_after(self.now()) != self._planned_slot

    @staticmethod
    def _asks(events: tuple[Event, ...]) -> bool:
        """Whether any event is something that a plan could answer."""
        return any(event.kind is not EventKind.PLANNED for event in events)

    def _urgent(self, events: tuple[Event, ...]) -> bool:
        """Whether pools lost devices that claims hold, and nobody has looked for other places yet."""
        return any(event.revision > self._repaired and loses(event) for event in events)

    def _leave_room(self, compiled: Compiled, solved: Solved) -> tuple[Solved, dict[int, Because], Insured | None]:
        """The plan without what would leave too little for others, and why each of those rows is left out.

        Guaranteed work must have somewhere to go, and claims of a higher tier may come. What is idle then is given to
        others.
        """
        policy = Policy(keeps=self.settings.keeps, terms=self.settings.terms)
        sure = insured(compiled, solved.plan, policy) if compiled.snapshot.fleet.insurance else None
        plan = sure.plan if sure is not None else solved.plan
        without = dict.fromkeys(sure.without, RESERVED) if sure is not None else {}
        if not self.demand.known and plan.same(solved.plan):
            return solved, without, sure
        if self.demand.known:
            silicon = [pool.silicon for pool in compiled.snapshot.fleet.pools]
            wanted = self.demand.use(silicon, compiled.problem.slots)
            kept = {tier: self.settings.keeps[tier] * wanted[row] for tier, row in ABOVE.items()}
            plan, withheld = withhold(compiled, plan, kept)
            without |= dict.fromkeys(withheld, ROOM_KEPT)
        plan = backfill(compiled, plan, policy, self.demand, sure.berths if sure is not None else None)
        if not without and plan.same(solved.plan):
            return solved, without, sure
        found = self._instead(compiled, solved, plan)
        return found, {row: why for row, why in without.items() if plan.option[row] < 0}, sure

    def _make_way(self, compiled: Compiled, solved: Solved, withheld: frozenset[int]) -> Solved:
        """The plan in which those give way who stand in the way of a higher tier and nobody else, and in time."""
        plan = make_way(compiled, solved.plan, but=withheld)
        if gives_way(compiled, plan) and self.now() > compiled.horizon.first * SLOT_SECONDS + LATE_SECONDS_MAX:
            raise Fault(
                FaultReason.OVERCOMMIT,
                "The plan is too late for the notice that it gives",
                remedy="The last plan stays.",
            )
        return solved if plan.same(solved.plan) else self._instead(compiled, solved, plan)

    def _defragment(self, compiled: Compiled, solved: Solved) -> tuple[Solved, Defragmented]:
        """The plan with a few moves more, and what they were; it is told by what it was worth without them."""
        kept = defragment(compiled, solved.plan, self.settings.leeway, freeze_slots=self.settings.freeze_slots)
        return (self._instead(compiled, solved, kept.plan) if kept.moved else solved), kept

    def _instead(self, compiled: Compiled, solved: Solved, plan: Plan) -> Solved:
        """The same with another plan, if that breaks no rule but reserves: berths are more exact, these only lead."""
        found = replace(solved, plan=plan, objective=check(compiled.problem, plan).objective, status=Status.FEASIBLE)
        accept(replace(compiled.problem, reserves=()), found)
        return found

    def _decide(
        self, compiled: Compiled, solved: Solved, withheld: Mapping[int, Because], shifted: Sequence[int], at: int
    ) -> Outcome:
        why = because(compiled, solved) | dict(withheld)
        freeze = self.settings.freeze_slots
        failpoints.reach("before-plan-stage")
        decided = outcome(compiled, solved.plan, why, freeze_slots=freeze, at=at, defragmented=shifted)
        failpoints.reach("after-plan-stage")
        return with_domains(compiled, decided, slot_of(at))

    async def _learn(self) -> None:
        """Learn who asks from the events so far, also while standing by; without the store, what is known will do."""
        try:
            revision = await self.ledger.revision()
            if not self.demand.revision and revision:
                self.demand.resume(max(0, revision - self.settings.history_events), await self.ledger.fleet())
            while self.demand.revision < revision:
                for event in await self.ledger.events(self.demand.revision, limit=HISTORY_EVENTS_AT_ONCE):
                    self.demand.apply(event)
        except Fault as fault:
            if fault.reason is FaultReason.COMPACTED:
                self.demand.resume(int(fault.facts["oldest_revision"]) - 1, await self.ledger.fleet())
            elif fault.reason.kind is not Kind.UNAVAILABLE:
                raise

    async def _keep_lease(self) -> None:
        """Take the lease when it is free, renew it in time, and know when it is lost."""
        while True:
            try:
                fence = await self.ledger.lead(self.planner_id, ttl_millis=self.settings.lease_millis)
                if fence != self._fence:
                    log.info("planner %s: %s", self.planner_id, f"leads, epoch {fence.epoch}" if fence else "stands by")
                    self._seen, self._planned_slot = await answered(self.ledger), -1
                self._fence = fence
            except Fault as fault:
                if fault.reason.kind is not Kind.UNAVAILABLE:
                    raise
                log.warning("planner lease: %s", fault)
            # Who stands by looks more often, not to keep anybody waiting once the lease is free.
            await asyncio.sleep(self.settings.lease_millis / (3000 if self._fence is not None else 12_000))
