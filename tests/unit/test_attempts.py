"""What a decision is when the market changes under it, and when it was made before."""

from __future__ import annotations

import pytest

from broker.attempts import ATTEMPTS, once, settled
from broker.domain.faults import Fault, FaultReason
from broker.ledger.port import RequestKey
from tests.builders import key

KEY = key("r")


class Decision:
    """Refused so many times for a reason, then made; counts how often it was tried."""

    def __init__(self, refused: int, reason: FaultReason = FaultReason.CONTENDED) -> None:
        self.tried, self._refused, self._reason = 0, refused, reason

    async def __call__(self) -> str:
        self.tried += 1
        if self.tried <= self._refused:
            raise Fault(self._reason, f"attempt {self.tried}", remedy="Wait.")
        return "made"


async def test_a_decision_is_made_again_while_others_change_what_it_is_about() -> None:
    for over in (FaultReason.CONTENDED, FaultReason.ETAG_MISMATCH):
        decision = Decision(ATTEMPTS - 1, over)
        assert await settled(decision, over=over) == "made"
        assert decision.tried == ATTEMPTS


async def test_not_for_ever_and_the_last_refusal_is_told() -> None:
    decision = Decision(99)
    with pytest.raises(Fault, match=f"attempt {ATTEMPTS}"):
        await settled(decision)
    assert decision.tried == ATTEMPTS


@pytest.mark.parametrize("over", [FaultReason.CONTENDED, FaultReason.ETAG_MISMATCH])
async def test_another_refusal_is_told_at_once(over: FaultReason) -> None:
    decision = Decision(1, FaultReason.CLAIM_CLOSED)
    with pytest.raises(Fault) as refused:
        await settled(decision, over=over)
    assert (refused.value.reason, decision.tried) == (FaultReason.CLAIM_CLOSED, 1)


async def test_who_names_a_version_hears_of_the_first_change() -> None:
    decision = Decision(1)
    with pytest.raises(Fault) as refused:
        await settled(decision, "7")
    assert (refused.value.reason, decision.tried) == (FaultReason.ETAG_MISMATCH, 1)


async def test_what_was_answered_before_is_answered_again_where_it_would_be_refused_today() -> None:
    asked: list[RequestKey] = []

    async def before(wanted: RequestKey) -> str | None:
        asked.append(wanted)
        return "before"

    async def never(_: RequestKey) -> str | None:
        return None

    assert await once(before, KEY, Decision(0)) == "made"
    assert asked == []
    assert await once(before, KEY, Decision(1)) == "before"
    assert asked == [KEY]
    with pytest.raises(Fault, match="attempt 1"):
        await once(never, KEY, Decision(1))
