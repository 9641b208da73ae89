"""A claim as the line that asks for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime

from capacitybroker import TIER_STANDARD, Claim, Tier
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from broker.cli.show import short, word

__all__ = ["typed"]


def typed(command: str, claim: Claim, *, tenant: str) -> str:
    """``broker claim 512 --for 336h …``: what to type to ask for it; empty where only the API can say it."""
    if any(choice.HasField("duration") for choice in claim.silicon):
        return ""
    return shlex.join(("broker", command, *_words(claim), "--tenant", tenant))


def _words(claim: Claim) -> Iterator[str]:
    """What was given, an option and its value at a time."""
    if claim.devices:
        yield str(claim.devices)
    for option, texts in (
        ("--silicon", _silicon(claim)),
        ("--for", [f"{claim.duration.seconds // 3600}h"]),
        ("--after", _moment(claim.earliest_start_time)),
        ("--by", _moment(claim.latest_start_time)),
        ("--done-by", _moment(claim.deadline)),
        ("--class", [claim.workload_class] if claim.workload_class != "training" else []),
        ("--tier", [word(Tier, claim.tier)] if claim.tier != TIER_STANDARD else []),
        ("--min-domain", _count(claim.min_domain_devices)),
        ("--min", _count(claim.min_devices)),
        ("--max", _count(claim.max_devices)),
        ("--prefer", map(short, claim.preferred_pools)),
        ("--avoid", map(short, claim.forbidden_pools)),
        ("--value", _dollars(claim.value_microusd)),
        ("--label", (f"{key}={value}" for key, value in sorted(claim.labels.items()))),
        ("--min-run", _hours(claim.preemption.min_run)),
        ("--notice", _hours(claim.preemption.notice)),
        ("--checkpoint", _hours(claim.preemption.checkpoint_interval)),
    ):
        for text in texts:
            yield from (option, text)
    yield from ["--parts"] * (not claim.gang) + ["--whole-domains"] * claim.whole_domains
    yield from ["--on-loan"] * claim.on_loan


def _silicon(claim: Claim) -> list[str]:
    names = [f"{each.silicon}={each.devices}" if each.devices else each.silicon for each in claim.silicon]
    return [",".join(names)] if names else []


def _count(devices: int) -> list[str]:
    return [str(devices)] if devices else []


def _hours(span: Duration) -> list[str]:
    return [f"{span.seconds // 3600}h"] if span.seconds else []


def _moment(moment: Timestamp) -> list[str]:
    if not moment.seconds:
        return []
    return [f"{datetime.fromtimestamp(moment.seconds, UTC):%Y-%m-%dT%H:%M:%SZ}".replace(":00Z", "Z")]


def _dollars(microusd: int) -> list[str]:
    whole, rest = divmod(microusd, 10**6)
    return [f"{whole}.{rest:06}".rstrip("0").rstrip(".")] if microusd else []
