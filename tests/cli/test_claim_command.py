"""One line that asks: what it says is what is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from capacitybroker import TIER_GUARANTEED, TIER_STANDARD, timestamp

from broker.cli.claim import TierName, Wish, asked

NOW = datetime(2026, 11, 25, 15, 40, tzinfo=UTC)  # a Wednesday


def test_the_sentence_that_started_it_all() -> None:
    """512 Blackwell for two weeks, gang, in whole NVL72 racks, by Friday."""
    claim = asked(
        Wish(devices=512, silicon=("blackwell",), duration="14d", by="friday", whole_domains=True, min_domain=72),
        now=NOW,
    )
    assert (claim.devices, claim.gang, claim.whole_domains, claim.min_domain_devices) == (512, True, True, 72)
    assert [(c.silicon, c.devices) for c in claim.silicon] == [("blackwell", 0)]
    assert claim.duration.ToTimedelta() == timedelta(days=14)
    assert claim.latest_start_time == timestamp(datetime(2026, 11, 27, tzinfo=UTC))
    assert (claim.workload_class, claim.tier) == ("training", TIER_STANDARD)
    assert not claim.HasField("earliest_start_time")
    assert not claim.HasField("deadline")
    assert claim.value_microusd == 0


def test_all_that_can_be_said() -> None:
    claim = asked(
        Wish(
            silicon=("gb300=512", "mtia-400=1024"),
            duration="36h",
            after="+1d",
            done_by="2026-12-24",
            workload_class="inference",
            tier=TierName.GUARANTEED,
            parts=True,
            min_devices=256,
            max_devices=2048,
            prefer=("dc-a",),
            avoid=("pools/dc-b",),
            value="$1,250,000.50",
            labels=("run=7", "note=a=b"),
        ),
        now=NOW,
    )
    assert [(c.silicon, c.devices) for c in claim.silicon] == [("gb300", 512), ("mtia-400", 1024)]
    assert claim.earliest_start_time == timestamp(NOW + timedelta(days=1))
    assert claim.deadline == timestamp(datetime(2026, 12, 24, tzinfo=UTC))
    assert (claim.gang, claim.min_devices, claim.max_devices) == (False, 256, 2048)
    assert list(claim.preferred_pools) == ["pools/dc-a"]
    assert list(claim.forbidden_pools) == ["pools/dc-b"]
    assert (claim.tier, claim.value_microusd) == (TIER_GUARANTEED, 1_250_000_500_000)
    assert dict(claim.labels) == {"run": "7", "note": "a=b"}


def test_the_terms_of_giving_way() -> None:
    wish = Wish(devices=8, duration="2d", tier=TierName.SPOT, min_run="4h", notice="2h", checkpoint="1d12h")
    terms = asked(wish, now=NOW).preemption
    assert [span.seconds // 3600 for span in (terms.min_run, terms.notice, terms.checkpoint_interval)] == [4, 2, 36]
    usual = asked(Wish(devices=8, duration="2d", tier=TierName.SPOT, notice="1h"), now=NOW).preemption
    assert (usual.HasField("min_run"), usual.HasField("notice")) == (False, True)
    assert not asked(Wish(devices=8, duration="2d"), now=NOW).HasField("preemption")


def test_only_who_says_so_is_on_loan() -> None:
    assert asked(Wish(devices=8, duration="2d", tier=TierName.SPOT, on_loan=True), now=NOW).on_loan
    assert not asked(Wish(devices=8, duration="2d", tier=TierName.SPOT), now=NOW).on_loan


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Wish(duration="1d", devices=1, notice="soon"), "--notice soon: "),
        (Wish(duration="14d"), "how many devices"),
        (Wish(duration="14d", silicon=("gb300=1", "gb200")), "how many devices"),
        (Wish(duration="soon", devices=1), "no length of time"),
        (Wish(duration="1d", devices=1, by="someday"), "no moment"),
        (Wish(duration="1d", silicon=("gb300=lots",)), "gb300=512"),
        (Wish(duration="1d", silicon=("gb300=0",)), "gb300=512"),
        (Wish(duration="1d", devices=1, value="much"), "US dollars"),
        (Wish(duration="1d", devices=1, value="NaN"), "US dollars"),
        (Wish(duration="1d", devices=1, value="-5"), "US dollars"),
        (Wish(duration="1d", devices=1, labels=("x",)), "key=value"),
    ],
)
def test_what_cannot_be_read_is_said(wish: Wish, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        asked(wish, now=NOW)
