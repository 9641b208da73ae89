"""About 300 claims as six teams of a lab would make them against the default fleet; the same seed, the same claims."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from capacitybroker import (
    TIER_GUARANTEED,
    TIER_SPOT,
    TIER_STANDARD,
    Claim,
    SiliconChoice,
    Tier,
    duration,
    timestamp,
)

__all__ = ["Asking", "sample_claims"]

DAY = 24
RACK = 72


@dataclass(frozen=True, slots=True)
class Asking:
    """A claim, who makes it, and under which id."""

    tenant: str
    id: str
    claim: Claim


@dataclass(frozen=True, slots=True)
class _Dice:
    """Seeded chance, seen from the start of the calendar."""

    rng: random.Random
    start: datetime

    def one_of(self, *choices: int) -> int:
        return self.rng.choice(choices)

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def window(self, claim: Claim, *, first_hour: int, slack_hours: int) -> Claim:
        """The claim with an earliest and a latest start."""
        earliest = self.start + timedelta(hours=first_hour)
        claim.earliest_start_time.CopyFrom(timestamp(earliest))
        claim.latest_start_time.CopyFrom(timestamp(earliest + timedelta(hours=slack_hours)))
        return claim


def sample_claims(*, seed: int, start: datetime, days: int = 28) -> list[Asking]:
    """The claims, in the order in which they are made; ``start`` is a whole hour, ``days`` how far they look ahead."""
    teams: tuple[tuple[str, str, int, Callable[[_Dice, int], Claim]], ...] = (
        ("pre-training", "run", 26, _pretraining),
        ("post-training", "tune", 62, _finetuning),
        ("inference-prod", "serve", 54, _inference),
        ("ranking", "rank", 34, _ranking_inference),
        ("ranking", "fit", 26, _ranking_training),
        ("research", "exp", 62, _research),
        ("evals", "eval", 30, _evals),
    )
    dice = _Dice(random.Random(seed), start)  # noqa: S311 - the same seed makes the same claims
    made = [
        Asking(tenant, f"{word}-{n + 1:02}", make(dice, days * DAY))
        for tenant, word, count, make in teams
        for n in range(count)
    ]
    made += [Asking(tenant, id_, claim) for tenant, id_, claim in _impossible(dice)]
    dice.rng.shuffle(made)
    return made


def _pretraining(dice: _Dice, horizon: int) -> Claim:
    """Whole racks of one domain for a week or two; the lab lives for these."""
    racks, hours = dice.one_of(8, 16, 24, 32, 32, 48), dice.one_of(7, 10, 14, 14) * DAY
    claim = _claim(
        "pretraining", racks * RACK, hours, TIER_GUARANTEED if dice.chance(60) else TIER_STANDARD, "blackwell", "rubin"
    )
    claim.gang, claim.whole_domains, claim.min_domain_devices = True, True, RACK
    return dice.window(claim, first_hour=dice.rng.randrange(horizon * 3 // 4), slack_hours=dice.one_of(2, 3, 5) * DAY)


def _finetuning(dice: _Dice, horizon: int) -> Claim:
    """Elastic: half the devices would do, twice as many would be faster."""
    devices, hours = dice.one_of(32, 64, 128, 128, 256, 512), dice.one_of(18, 36, 48, 72, 120)
    claim = _claim("finetuning", devices, hours, TIER_STANDARD if dice.chance(75) else TIER_SPOT, "blackwell")
    claim.gang, claim.min_devices, claim.max_devices = True, devices // 2, devices * 2
    return dice.window(claim, first_hour=dice.rng.randrange(horizon * 3 // 4), slack_hours=dice.one_of(24, 48, 96))


def _inference(dice: _Dice, horizon: int) -> Claim:
    """Serving: GPUs, or twice as many of the lab's own chips; replicas need not stand together."""
    devices, hours = dice.one_of(128, 256, 384, 512), dice.one_of(3, 7, 7, 14) * DAY
    claim = _claim("inference", devices, hours, TIER_GUARANTEED if dice.chance(50) else TIER_STANDARD, "blackwell")
    claim.silicon.append(SiliconChoice(silicon="mtia-400", devices=2 * devices, duration=duration(hours=hours)))
    claim.gang = dice.chance(40)
    return dice.window(claim, first_hour=dice.rng.randrange(horizon * 2 // 3), slack_hours=dice.one_of(12, 24, 72))


def _ranking_inference(dice: _Dice, horizon: int) -> Claim:
    """Ranking may move to the lab's own chips, which frees GPUs for work that needs them."""
    devices, hours = dice.one_of(128, 256, 512, 1024), dice.one_of(5, 7, 14, 20) * DAY
    claim = _claim("ranking-inference", devices, hours, TIER_GUARANTEED if dice.chance(60) else TIER_STANDARD, "gb200")
    claim.silicon.append(SiliconChoice(silicon="mtia-200", devices=3 * devices, duration=duration(hours=hours)))
    claim.silicon.append(SiliconChoice(silicon="mtia-300", devices=2 * devices, duration=duration(hours=hours)))
    claim.preferred_pools.append("pools/silicon-r")
    return dice.window(claim, first_hour=dice.rng.randrange(horizon // 2), slack_hours=dice.one_of(6, 24, 72))


def _ranking_training(dice: _Dice, horizon: int) -> Claim:
    """Gangs on silicon for training, or on GPUs if there is none."""
    devices, hours = dice.one_of(128, 256, 512, 768), dice.one_of(24, 48, 96)
    claim = _claim("ranking-training", devices, hours, TIER_STANDARD, "mtia-300", "mtia-400", "b200")
    claim.gang = True
    return dice.window(claim, first_hour=dice.rng.randrange(horizon * 3 // 4), slack_hours=dice.one_of(24, 72, 120))


def _research(dice: _Dice, horizon: int) -> Claim:
    """Many small gangs, half of them content with what is left over."""
    devices, hours = dice.one_of(8, 16, 32, 64, 128, 256), dice.one_of(6, 12, 24, 48, 96)
    claim = _claim("research", devices, hours, TIER_STANDARD if dice.chance(50) else TIER_SPOT)
    claim.gang, claim.whole_domains = True, dice.chance(30)
    if dice.chance(20):
        claim.forbidden_pools.append("pools/contract-3")
    return dice.window(claim, first_hour=dice.rng.randrange(horizon * 4 // 5), slack_hours=dice.one_of(12, 48, 168))


def _evals(dice: _Dice, horizon: int) -> Claim:
    """Batch on spot, in parts, to be done within a day or two."""
    devices, hours = dice.one_of(16, 32, 64, 128), dice.one_of(2, 4, 8, 12)
    claim = _claim("evals", devices, hours, TIER_SPOT)
    first = dice.start + timedelta(hours=dice.rng.randrange(horizon * 4 // 5))
    claim.earliest_start_time.CopyFrom(timestamp(first))
    claim.deadline.CopyFrom(timestamp(first + timedelta(hours=2 * hours + dice.one_of(12, 36))))
    return claim


def _impossible(dice: _Dice) -> Iterator[tuple[str, str, Claim]]:
    """What the broker has to say no to, each for another reason."""
    wrong = _claim("pretraining", 1024, 7 * DAY, TIER_STANDARD, "mtia-300")
    yield "pre-training", "on-chips-that-cannot", wrong
    soon = _claim("pretraining", 64 * RACK, 14 * DAY, TIER_STANDARD, "gb300")
    soon.gang, soon.whole_domains = True, True
    soon.forbidden_pools.append("pools/contract-1")
    yield "pre-training", "before-the-racks-arrive", dice.window(soon, first_hour=0, slack_hours=48)
    cheap = _claim("finetuning", 512, 5 * DAY, TIER_SPOT, "b200")
    cheap.gang, cheap.value_microusd = True, 1_000_000
    yield "post-training", "worth-a-dollar", cheap
    wide = _claim("research", 4096, 2 * DAY, TIER_STANDARD, "blackwell")
    wide.gang = True
    yield "research", "above-its-quota", dice.window(wide, first_hour=DAY, slack_hours=5 * DAY)
    late = _claim("training", 256, 7 * DAY, TIER_STANDARD, "blackwell")
    late.gang = True
    late.deadline.CopyFrom(timestamp(dice.start + timedelta(hours=30)))
    yield "post-training", "a-week-by-tomorrow", late
    yield "inference-prod", "no-such-silicon", _claim("inference", 256, 7 * DAY, TIER_STANDARD, "h100")


def _claim(workload_class: str, devices: int, hours: int, tier: Tier.ValueType, *silicon: str) -> Claim:
    return Claim(
        workload_class=workload_class,
        devices=devices,
        silicon=[SiliconChoice(silicon=name) for name in silicon],
        duration=duration(hours=hours),
        tier=tier,
    )
