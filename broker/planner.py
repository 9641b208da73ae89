"""The back office: one planning cycle after another, for as long as this process holds the planner's lease."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Protocol

import numpy as np

from broker.admission.demand import ABOVE, KEEPS, Demand
from broker.admission.policy import Policy
from broker.backfill import backfill
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Tier
from broker.domain.faults import Fault, FaultReason, Kind
from broker.domain.plan import PlanRecord, PoolPrice
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS, Window, slot_at_or_after, slot_of
from broker.domain.snapshot import Event, EventKind
from broker.domain.terms import Terms
from broker.ledger.port import Fence, Ledger
from broker.optimiser.because import because
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled, compile_problem
from broker.optimiser.outcome import Outcome, outcome
from broker.optimiser.problem import Plan, Problem, Status
from broker.optimiser.report import Solved
from broker.optimiser.spare import gives_way, spare
from broker.optimiser.takeover import take_over
from broker.optimiser.withhold import withhold
from broker.optimiser.worker import SolverLost

__all__ = ["Capture", "Planner", "PlannerSettings", "Solver"]

log = logging.getLogger(__name__)

Capture = Callable[[Problem, Solved], None]

LATE_SECONDS_MAX = 60  # a plan may come into force that long after the start of the first hour it fills
FAILURE_SECONDS_MAX = 10.0
HISTORY_EVENTS_AT_ONCE = 20  # decoded between two renewals of the lease, or whatever else is due
ROOM_KEPT = Because(Reason.ROOM_KEPT, "There is room, but it is kept for claims of a higher tier that are expected.")


class Solver(Protocol):
    """Whatever solves a problem without blocking the event loop."""

    async def solve(self, problem: Problem, *, seconds: float, seed: int, hint: Plan | None) -> Solved:
        """The best plan found in about ``seconds``."""
        ...


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """How the planner paces itself."""

    solve_seconds: float = 2.0
    horizon_slots: int = 26 * 168
    freeze_slots: int = 1  # a claim is committed once it starts within this many slots
    gather_millis: int = 100  # wait for more events after the first, so that a burst is one plan
    lease_millis: int = 6_000
    seed: int = 1
    terms: Terms = field(default_factory=Terms)
    commit_claims_max: int = 3_000  # more changes than that come into force in several steps
    keeps: Mapping[Tier, float] = field(default_factory=lambda: KEEPS)  # see `broker.admission.policy`
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
    _fence: Fence | None = None
    _seen: int = 0
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
                except (Fault, SolverLost) as lost:
                    # What fails for good must not keep the machine busy; what fails for once is soon over.
                    wait = min(FAILURE_SECONDS_MAX, 0.2 * 2 ** min(self._failures, 10))
                    self._failures += 1
                    log.warning("planning cycle given up, again in %.1f s: %s", wait, lost)
                    await asyncio.sleep(wait)
                if lease.done():
                    lease.result()
        finally:
            lease.cancel()
            await asyncio.gather(lease, return_exceptions=True)
            with suppress(Fault):
                # Whoever stands by need not wait for the lease to run out.
                await self.ledger.lead(self.planner_id, ttl_millis=0)

    async def cycle(self, fence: Fence, *, seconds: float) -> PlanRecord:
        """One plan, put into force: snapshot, compile, solve, check, explain, commit.

        Faults: OVERCOMMIT when the market changed under the plan too much or the plan is too late for the notice that
        it gives, FENCED when another planner leads.
        """
        # 1. What is, at one revision, and the first hour that can still start when the plan is there.
        await self._learn()
        snapshot = await self.ledger.snapshot()
        now = self.now()
        first = slot_at_or_after(now + math.ceil(seconds) - LATE_SECONDS_MAX)
        horizon = Window(first, first + self.settings.horizon_slots)
        # 2. As a problem.
        compiled = await asyncio.to_thread(compile_problem, snapshot, horizon, self.settings.terms, slot=slot_of(now))
        # 3. The best plan in the time there is, starting from the one in force.
        started = monotonic()
        solved = await self.solver.solve(
            compiled.problem, seconds=seconds, seed=self.settings.seed, hint=_in_force(compiled)
        )
        millis = round(1000 * (monotonic() - started))
        # 4. Believe nothing: a checker that knows no solver has the last word.
        self._accept(compiled, solved)
        # 5. Leave room for who is expected; let those give way who have to.
        solved, withheld = await asyncio.to_thread(self._leave_room, compiled, solved)
        solved = await asyncio.to_thread(self._make_way, compiled, solved, withheld)
        # 6. What becomes of each claim, and why.
        at = self.now()
        decided = await asyncio.to_thread(self._decide, compiled, solved, withheld, at)
        record = _record(compiled, solved, decided, millis, at)
        # 7. One step puts it into force, if this process still leads.
        changed = decided.changed[: max(decided.together, self.settings.commit_claims_max)]
        prices = _bid_prices(compiled, solved)
        done = await self.ledger.commit(changed, record, fence=fence, at=at, prices=prices)
        self._planned_slot = slot_at_or_after(at) if len(changed) == len(decided.changed) else -1
        if self.capture is not None:
            await asyncio.to_thread(self.capture, compiled.problem, solved)
        return replace(record, revision=done.revision, skipped=len(done.skipped))

    async def _turn(self) -> None:
        """Wait for a reason to plan, then plan."""
        fence = self._fence
        if fence is None:
            await self._learn()
            await asyncio.sleep(0.05)
            return
        events = await self._news()
        if not self._calls_for_plan(events):
            return
        asked = [event.time_limit_seconds for event in events if event.time_limit_seconds]
        try:
            record = await self.cycle(fence, seconds=asked[-1] if asked else self.settings.solve_seconds)
        except Fault as fault:
            if fault.reason is FaultReason.FENCED:
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
            100 * solved_gap(record),
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
        await asyncio.sleep(self.settings.gather_millis / 1000)
        return await self.ledger.events(self._seen, limit=10_000)

    def _calls_for_plan(self, events: tuple[Event, ...]) -> bool:
        return self._asks(events) or slot_at_or_after(self.now()) != self._planned_slot

    @staticmethod
    def _asks(events: tuple[Event, ...]) -> bool:
        """Whether any event is something that a plan could answer."""
        return any(event.kind is not EventKind.PLANNED for event in events)

    def _accept(self, compiled: Compiled, solved: Solved) -> None:
        """Refuse a plan that breaks a rule or is not worth what it says."""
        verdict = check(compiled.problem, solved.plan)
        if verdict.violations or verdict.objective != solved.objective:
            log.error("plan rejected: %s", verdict.violations[:3] or "objective is not as claimed")
            raise Fault(
                FaultReason.OVERCOMMIT,
                "The optimiser returned a plan that breaks a rule",
                remedy="The last plan stays.",
            )

    def _leave_room(self, compiled: Compiled, solved: Solved) -> tuple[Solved, frozenset[int]]:
        """The plan without what would leave too little for claims of a higher tier that may come, and those rows.

        What is idle then is given to others.
        """
        if not self.demand.known:
            return solved, frozenset()
        silicon = [pool.silicon for pool in compiled.snapshot.fleet.pools]
        wanted = self.demand.use(silicon, compiled.problem.slots)
        kept = {tier: self.settings.keeps[tier] * wanted[row] for tier, row in ABOVE.items()}
        plan, withheld = withhold(compiled, solved.plan, kept)
        plan = backfill(compiled, plan, Policy(keeps=self.settings.keeps, terms=self.settings.terms), self.demand)
        if not withheld and (plan.option == solved.plan.option).all():
            return solved, withheld
        found = replace(solved, plan=plan, objective=check(compiled.problem, plan).objective, status=Status.FEASIBLE)
        self._accept(compiled, found)
        return found, frozenset(row for row in withheld if plan.option[row] < 0)

    def _make_way(self, compiled: Compiled, solved: Solved, withheld: frozenset[int]) -> Solved:
        """The plan in which those give way who stand in the way of a higher tier and nobody else, and in time."""
        plan = spare(compiled, take_over(compiled, solved.plan, but=withheld))
        if gives_way(compiled, plan) and self.now() > compiled.horizon.first * SLOT_SECONDS + LATE_SECONDS_MAX:
            raise Fault(
                FaultReason.OVERCOMMIT,
                "The plan is too late for the notice that it gives",
                remedy="The last plan stays.",
            )
        placed = plan.option >= 0
        if (plan.option == solved.plan.option).all() and (plan.start == solved.plan.start)[placed].all():
            return solved
        found = replace(solved, plan=plan, objective=check(compiled.problem, plan).objective, status=Status.FEASIBLE)
        self._accept(compiled, found)
        return found

    def _decide(self, compiled: Compiled, solved: Solved, withheld: frozenset[int], at: int) -> Outcome:
        why = because(compiled, solved) | dict.fromkeys(withheld, ROOM_KEPT)
        return outcome(compiled, solved.plan, why, freeze_slots=self.settings.freeze_slots, at=at)

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

    async def _answered(self) -> int:
        """The revision up to which plans have answered what was asked; what came after it is still owed."""
        try:
            return (await self.ledger.plan(None)).based_on_revision
        except Fault as fault:
            if fault.reason is not FaultReason.PLAN_NOT_FOUND:
                raise
            return 0

    async def _keep_lease(self) -> None:
        """Take the lease when it is free, renew it in time, and know when it is lost."""
        while True:
            try:
                fence = await self.ledger.lead(self.planner_id, ttl_millis=self.settings.lease_millis)
                if fence != self._fence:
                    log.info("planner %s: %s", self.planner_id, f"leads, epoch {fence.epoch}" if fence else "stands by")
                    self._seen, self._planned_slot = await self._answered(), -1
                self._fence = fence
            except Fault as fault:
                if fault.reason.kind is not Kind.UNAVAILABLE:
                    raise
                log.warning("planner lease: %s", fault)
            await asyncio.sleep(self.settings.lease_millis / 3000)


def solved_gap(record: PlanRecord) -> float:
    """Share of the bound that the plan may still be missing."""
    return (record.bound_microusd - record.objective_microusd) / max(1, abs(record.bound_microusd))


def _in_force(compiled: Compiled) -> Plan | None:
    """The plan that holds now, as far as it still can."""
    requests = compiled.problem.requests
    if not (requests.current_option >= 0).any():
        return None
    return Plan(requests.current_option.copy(), requests.current_start.copy())


def _bid_prices(compiled: Compiled, solved: Solved) -> BidPrices:
    """The prices of the plan, for whoever answers before the next one."""
    problem = compiled.problem
    pools, tenants = (np.rint(rows).astype(np.int64).tolist() for rows in (solved.prices.pools, solved.prices.quotas))
    return BidPrices(
        compiled.horizon.first,
        {pool: tuple(row) for pool, row in zip(problem.pools.ids, pools, strict=True)},
        {tenant: tuple(row) for tenant, row in zip(problem.quotas.ids, tenants, strict=True)},
    )


def _record(
    compiled: Compiled,
    solved: Solved,
    decided: Outcome,
    millis: int,
    at: int,
) -> PlanRecord:
    prices = solved.prices.pools
    rows = range(len(compiled.problem.pools.ids))
    means = np.rint(prices.mean(axis=1)) if prices.size else np.zeros(len(rows))
    peaks = np.rint(prices.max(axis=1)) if prices.size else np.zeros(len(rows))
    return PlanRecord(
        based_on_revision=compiled.snapshot.revision,
        horizon=compiled.horizon,
        optimal=solved.status is Status.OPTIMAL,
        objective_microusd=solved.objective,
        bound_microusd=max(solved.objective, int(np.ceil(solved.bound))),
        solve_millis=millis,
        claims=len(compiled.snapshot.claims),
        placed=decided.placed,
        moved=decided.moved,
        created_at=at,
        reasons=decided.reasons,
        prices=tuple(
            PoolPrice(pool, int(means[row]), int(peaks[row])) for row, pool in enumerate(compiled.problem.pools.ids)
        ),
    )
