"""Claims that no plan survives: found by halves and set aside, so that all others are planned.

A solver that dies, hangs or lies whenever it is given one certain claim, or a planner that stumbles over it, would
otherwise never plan anything again. Who waits and holds nothing can be set aside; its owner is told QUARANTINED, and it
is looked at again once the claim is changed. A claim that does no harm alone is left out of the next few plans as well,
but nobody is told that it is at fault.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from broker.domain.claim import Claim, ClaimName, Displaced, Waiting
from broker.domain.faults import Fault, FaultReason, Kind
from broker.domain.reason import Because, Reason
from broker.domain.snapshot import Snapshot
from broker.ledger.port import Ledger
from broker.optimiser.check import check
from broker.optimiser.problem import Problem
from broker.optimiser.report import Solved
from broker.optimiser.worker import SolverLost

__all__ = ["PlanRejected", "Quarantine", "accept"]

log = logging.getLogger(__name__)

FAILURES = 3  # in a row, before claims are suspected
CULPRITS_MAX = 8  # of one search
CONFIRMATIONS = 3
UNBLAMED_PLANS = 20  # for so many plans is left out who does no harm alone
ATTEMPT_SECONDS = 1.0
SET_ASIDE = Because(
    Reason.QUARANTINED,
    "Planning failed whenever it looked at the claim, so it is set aside; that is a fault of the broker. Changing the"
    " claim has it looked at again.",
)

Attempt = Callable[[Snapshot, float], Awaitable[None]]


class PlanRejected(Fault):
    """The optimiser returned a plan that breaks a rule, or is not worth what it says."""


def accept(problem: Problem, solved: Solved) -> None:
    """Believe nothing: raise `PlanRejected` unless the plan keeps every rule and is worth what it says."""
    verdict = check(problem, solved.plan)
    if verdict.violations or verdict.objective != solved.objective:
        log.error("plan rejected: %s", verdict.violations[:3] or "objective is not as claimed")
        raise PlanRejected(
            FaultReason.OVERCOMMIT,
            "The optimiser returned a plan that breaks a rule",
            remedy="The last plan stays.",
        )


@dataclass(slots=True)
class Quarantine:
    """Who is set aside, and how often in a row planning has failed for no reason but its input."""

    failures: int = 0
    _aside: dict[ClaimName, tuple[int, bool]] = field(default_factory=dict)  # at which revision; if it is at fault
    _untold: tuple[Claim, ...] = ()
    _plans: int = 0

    def suspects(self, error: Exception) -> bool:
        """Whether so many plans in a row have failed that some claim may be why; not what the store or others do."""
        if isinstance(error, SolverLost | PlanRejected) or not isinstance(error, Fault):
            self.failures += 1
        return self.failures >= FAILURES

    def planned(self) -> None:
        """A plan is in force."""
        self.failures = 0
        self._plans += 1
        if self._plans % UNBLAMED_PLANS == 0:
            self._aside = {name: found for name, found in self._aside.items() if found[1]}

    def without(self, snapshot: Snapshot) -> Snapshot:
        """The market without who is set aside; who was changed since then is back."""
        out = {claim.name for claim in snapshot.claims if self._is_out(claim)}
        self._untold = tuple(
            claim for claim in snapshot.claims if claim.name in out and not _told(claim) and self._aside[claim.name][1]
        )
        return replace(snapshot, claims=tuple(c for c in snapshot.claims if c.name not in out)) if out else snapshot

    def untold(self, at: int) -> tuple[Claim, ...]:
        """Those of the market last seen who have not been told that they are set aside, told."""
        return tuple(
            claim.becomes((Displaced if isinstance(claim.state, Displaced) else Waiting)((SET_ASIDE,)), at=at)
            for claim in self._untold
        )

    async def search(self, ledger: Ledger, attempt: Attempt) -> None:
        """Set aside those of whom planning fails; none, where it fails without any who could be, or fails no more."""
        snapshot = self.without(await ledger.snapshot())
        waiting = [claim for claim in snapshot.claims if not claim.placements]
        holders = [claim for claim in snapshot.claims if claim.placements]

        async def survives(some: Sequence[Claim]) -> bool:
            chosen = sorted([*holders, *some], key=lambda claim: claim.name)
            return await _survives(attempt, replace(snapshot, claims=tuple(chosen)))

        self.failures = 0
        if not waiting or not await survives(()):
            log.error("planning fails without any claim that could be set aside")
            return
        for _ in range(CULPRITS_MAX):
            if await survives(waiting):
                return
            low, high = 0, len(waiting)  # so many survive, and so many do not
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if await survives(waiting[:middle]) else (low, middle)
            if not await _again(survives, waiting[: high - 1], waiting[:high]):
                log.error("planning fails now and then, and of no certain claim")
                return
            culprit = waiting.pop(high - 1)
            guilty = await _again(survives, (), (culprit,))
            self._aside[culprit.name] = culprit.revision, guilty
            log.error("claim %s is set aside: planning fails with it%s", culprit.name, "" if guilty else " and others")

    def _is_out(self, claim: Claim) -> bool:
        if claim.placements:
            return False
        return _told(claim) or self._aside.get(claim.name, (-1, False))[0] == claim.revision


async def _again(
    survives: Callable[[Sequence[Claim]], Awaitable[bool]], without: Sequence[Claim], with_it: Sequence[Claim]
) -> bool:
    """Whether one claim makes the difference every time; where a solver gets no time, now this fails and now that."""
    for _ in range(CONFIRMATIONS):
        if not await survives(without) or await survives(with_it):
            return False
    return True


async def _survives(attempt: Attempt, snapshot: Snapshot) -> bool:
    """Whether a plan of these claims can be made; Faults of the store are raised."""
    try:
        await attempt(snapshot, ATTEMPT_SECONDS)
    except Fault as fault:
        if fault.reason.kind is Kind.UNAVAILABLE:
            raise
        return False
    except Exception:  # noqa: BLE001 - whatever it is, it is why nothing is planned
        return False
    return True


def _told(claim: Claim) -> bool:
    return bool(claim.because) and claim.because[0].reason is Reason.QUARANTINED
