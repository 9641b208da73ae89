"""A solver that hangs, dies, hungers or lies: the last plan stays, and one claim keeps nobody else from his."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from broker.domain.claim import ClaimName, Tier, Waiting
from broker.domain.reason import Reason
from broker.domain.snapshot import EventKind
from broker.ledger.fold import violations
from broker.optimiser.worker import SolverLost, SolverProcess
from broker.quarantine import PlanRejected
from tests.builders import ask, fleet
from tests.faults.catalogue import fault
from tests.faults.solvers import bewitched
from tests.planner import test_preemption_loops as loops
from tests.world import World, world

GRACE_SECONDS = 3.0
MEMORY_BYTES = 2 << 30
SECONDS = 180.0


@asynccontextmanager
async def bewitchable() -> AsyncIterator[World]:
    """A broker in which one claim is planned already, with a solver of its own process."""
    async with world() as w:
        solver = SolverProcess(bewitched, grace_seconds=GRACE_SECONDS, memory_bytes=MEMORY_BYTES)
        await solver.start()
        w.planner.solver = solver
        try:
            await w.declare(fleet({"dc-1": 64}))
            await named(w, "first", devices=16)
            await w.plan()
            yield w
        finally:
            await solver.close()
        assert violations(await w.ledger.events(0, limit=10_000)) == ()


async def named(w: World, claim_id: str, **asked: object) -> ClaimName:
    """A claim of that id, for two hours."""
    fields = {"devices": 8, "slots": 2, "value_microusd": 10**9, **asked}
    return (await w.desk.submit("atlas", claim_id, ask(**fields), w.key())).claim.name  # type: ignore[arg-type]


async def planning(w: World, until: Callable[[], Awaitable[bool]]) -> None:
    """Let the planner run by itself until it is so."""
    run = asyncio.create_task(w.planner.run())
    try:
        async with asyncio.timeout(SECONDS):
            while not await until():  # noqa: ASYNC110 - any condition will do
                await asyncio.sleep(0.01)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


@fault(
    "F21",
    injected="a solver that ignores its time limit and never answers",
    expected="killed at 1.5 times the budget and a grace; the last plan stays; the next one is made",
)
@fault(
    "F22",
    injected="a solver that aborts, dies of SIGSEGV, or takes more memory than RLIMIT_AS gives it",
    expected="the last plan stays; a new process makes the next one",
)
@pytest.mark.parametrize("spell", ["hang", "abort", "segv", "hunger"])
async def test_a_solver_that_is_lost_leaves_the_last_plan(spell: str) -> None:
    async with bewitchable() as w:
        doomed = await named(w, f"{spell}-1")
        before, begun = await w.ledger.snapshot(), time.monotonic()
        with pytest.raises(SolverLost):
            await w.plan()
        if spell == "hang":
            assert 1.5 * 1.0 + GRACE_SECONDS <= time.monotonic() - begun < 30.0
        assert await w.ledger.snapshot() == before
        await w.desk.cancel(doomed, etag="", key=w.key())
        other = await named(w, "second")
        await w.plan()
        assert (await w.claim(other)).placements


@fault(
    "F23",
    injected="a solver process that over-commits, drops what was promised, or claims to be better than it is",
    expected="the checker rejects the plan with an alarm; nothing is committed",
)
@pytest.mark.parametrize("lie", ["overbook", "boast", "evict"])
async def test_a_plan_that_lies_is_never_put_into_force(lie: str, caplog: pytest.LogCaptureFixture) -> None:
    async with bewitchable() as w:
        await named(w, f"{lie}-1", devices=64)
        before = await w.ledger.snapshot()
        with pytest.raises(PlanRejected):
            await w.plan()
        assert await w.ledger.snapshot() == before
        assert [record for record in caplog.records if record.levelname == "ERROR" and "rejected" in record.message]


@fault(
    "F25",
    injected="a claim of which the solver dies, hangs or lies each time that it is included",
    expected="found by halves and set aside as QUARANTINED, which its caller is told; all others are planned",
)
@pytest.mark.parametrize("spell", ["abort", "boast"])
async def test_a_poisonous_claim_is_set_aside_and_all_others_are_planned(spell: str) -> None:
    async with bewitchable() as w:
        good = [await named(w, f"good-{n}", devices=4) for n in range(5)]
        bad = await named(w, f"{spell}-1")
        good += [await named(w, f"late-{n}", devices=4) for n in range(5)]

        async def all_planned() -> bool:
            return all([bool((await w.claim(name)).placements) for name in good])

        await planning(w, all_planned)
        told = await w.claim(bad)
        assert isinstance(told.state, Waiting)
        assert [why.reason for why in told.because] == [Reason.QUARANTINED]
        more = await named(w, "more")
        await w.plan()  # at once, by any planner: what is set aside is known from the claim
        assert (await w.claim(more)).placements
        assert (await w.claim(bad)).revision == told.revision, "it is told once"


@fault(
    "F26",
    injected="claims that nothing can serve: too large, too late, too short, nowhere",
    expected="a reason for each of them; the plan of all others is made",
)
async def test_what_cannot_be_served_has_its_own_reason_and_harms_nobody() -> None:
    async with bewitchable() as w:
        hopeless = {
            await named(w, "long", slots=20_000): Reason.BEYOND_HORIZON,
            await named(w, "tight", slots=10, deadline=w.slot + 11, earliest=w.slot + 5): Reason.WINDOW_TOO_SHORT,
            await named(w, "worthless", value_microusd=0, tier=Tier.SPOT): None,
        }
        fine = await named(w, "fine")
        await w.plan()
        assert (await w.claim(fine)).placements
        for name, reason in hopeless.items():
            found = await w.claim(name)
            assert found.because or found.placements, name
            if reason is not None:
                assert found.because[0].reason is reason


@fault(
    "F27",
    injected="the loops of Kueue #2821, #3779, #6947, #7101 and Armada #5071, re-created",
    expected="each comes to rest; nobody gives way more often than may be",
)
@pytest.mark.long
@pytest.mark.parametrize("story", sorted(name for name in vars(loops) if name.startswith("test_")))
async def test_bait_for_loops_comes_to_rest(story: str) -> None:
    await getattr(loops, story)()


async def test_the_planner_outlives_whatever_one_claim_provokes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the solver but the planner itself stumbles."""
    from broker import planner
    from broker.optimiser.outcome import outcome as honest

    def stumbling(compiled, *args, **fields):  # type: ignore[no-untyped-def]
        if any(claim.name.id.startswith("stumble") for claim in compiled.snapshot.claims):
            raise KeyError("stumbled")
        return honest(compiled, *args, **fields)

    monkeypatch.setattr(planner, "outcome", stumbling)
    async with bewitchable() as w:
        good, bad = await named(w, "good"), await named(w, "stumble-1")

        async def planned() -> bool:
            return bool((await w.claim(good)).placements)

        await planning(w, planned)
        assert [why.reason for why in (await w.claim(bad)).because] == [Reason.QUARANTINED]
        assert [event for event in await w.ledger.events(0, limit=1000) if event.kind is EventKind.PLANNED]
