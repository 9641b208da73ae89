"""Seeded synthetic problems with the load of a large lab, made in arrays.

Families (requests x pools x slots): XS 50 x 4 x 48, S 500 x 8 x 168, M 5,000 x 16 x 168, L 20,000 x 32 x 336,
XL 100,000 x 64 x 336. Load is demand over capacity in device-slots. Sizes are bounded Pareto and mostly powers of two,
lengths log-normal; six classes of work run at their own speed on each kind of pool, or not at all; pools ramp, are
maintained and fail; contracts are paid to three quarters and the rest is overage; every tenant has a quota.

The draws and their order are the recipe: the same family, load, seed and largest gang give the same problem on every
machine, to the last integer. Options, of which XL has 4.75 million, are made a few thousand requests at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from broker.optimiser.problem import Bools, Floats, Ints, Options, Pools, Problem, Quotas, Requests

__all__ = ["FAMILIES", "Synthetic", "synthetic"]

FAMILIES = {
    "XS": (50, 4, 48, 128),
    "S": (500, 8, 168, 512),
    "M": (5_000, 16, 168, 2_048),
    "L": (20_000, 32, 336, 8_192),
    "XL": (100_000, 64, 336, 16_384),
}  # requests, pools, slots, devices of the largest gang unless said otherwise
HGX, NVL, CUSTOM, CONTRACT_HGX, CONTRACT_NVL = range(5)
KINDS = (NVL, HGX, CUSTOM, CONTRACT_NVL, CONTRACT_HGX, HGX, NVL, CONTRACT_HGX)  # of pools in turn
SIZE = (1.4, 1.0, 0.9, 1.0, 0.7)  # by kind
UNIT_COST = (0.22, 0.18, 0.10, 0.0, 0.0)
# By class of work, then kind of pool; 0: cannot run there.
SPEED = (
    (0.0, 1.2, 0.0, 0.0, 1.2),  # pre-training, whole racks
    (1.0, 1.1, 0.0, 1.0, 1.1),  # training
    (1.0, 1.0, 0.5, 1.0, 1.0),  # fine-tuning
    (1.0, 1.0, 0.8, 1.0, 1.0),  # serving bursts
    (1.0, 1.0, 1.0, 1.0, 1.0),  # batch inference
    (1.0, 0.9, 0.0, 1.0, 0.9),  # research
)
WORK_SHARE = (0.04, 0.16, 0.20, 0.20, 0.15, 0.25)
TIER_SHARE = (0.12, 0.28, 0.40, 0.20)
TIER_VALUE = (12.0, 6.0, 3.0, 1.2)
LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 48, 72, 96, 120, 168)
RACK, NODE = 72, 8
PARETO = 0.62
CHUNK = 4_096  # requests whose options are made at once


@dataclass(frozen=True, slots=True)
class Synthetic:
    """What names a synthetic problem; written ``S:1.1:1`` or ``M:1.1:1:256``."""

    family: str
    load: float
    seed: int
    largest_gang: int | None = None

    @staticmethod
    def parse(text: str) -> Synthetic:
        """The name in ``FAMILY:LOAD:SEED[:LARGEST_GANG]``; ``ValueError`` where it is none."""
        family, *numbers = text.split(":")
        if family not in FAMILIES or len(numbers) not in (2, 3):
            raise ValueError(f"{text!r} is not FAMILY:LOAD:SEED[:LARGEST_GANG] with a family of {', '.join(FAMILIES)}")
        named = Synthetic(family, float(numbers[0]), *(int(number) for number in numbers[1:]))
        if not named.load > 0 or named.seed < 0 or (named.largest_gang is not None and named.largest_gang < 2):
            raise ValueError(f"{text!r}: the load is above 0, the seed not below 0, the largest gang 2 or more")
        return named

    def __str__(self) -> str:
        """The text that ``parse`` reads."""
        gang = "" if self.largest_gang is None else f":{self.largest_gang}"
        return f"{self.family}:{self.load:g}:{self.seed}{gang}"


@dataclass(frozen=True, slots=True)
class _Asks:
    """What is asked for, one row a request."""

    work: Ints
    devices: Ints
    length: Ints
    first: Ints
    last: Ints  # end of the window
    due: Ints
    tier: Ints
    value: Floats
    late: Floats
    tenant: Ints
    tenants: int

    @property
    def demand(self) -> Ints:
        """Device-slots."""
        return self.devices * self.length


@dataclass(frozen=True, slots=True)
class _Supply:
    kind: Ints
    domain: Ints
    pools: Pools


def synthetic(which: Synthetic) -> Problem:
    """The problem of that name."""
    requests, pools, slots, usual = FAMILIES[which.family]
    largest = which.largest_gang or usual
    g = np.random.default_rng([which.seed, requests, pools, slots, int(which.load * 100), largest])
    asks = _asks(g, requests, slots, largest)
    supply = _supply(g, pools, slots, float(asks.demand.sum()) / which.load)
    held = np.bincount(asks.tenant, weights=asks.demand, minlength=asks.tenants)
    share = np.maximum(held / held.sum() * 1.5, 0.04)
    limit = (share[:, None] * supply.pools.capacity.sum(axis=0)[None]).astype(np.int64)
    quotas = Quotas(tuple(f"tenant-{k}" for k in range(asks.tenants)), limit)
    return Problem(slots, 1, supply.pools, quotas, _requests(asks), _options(g, asks, supply), ())


def _asks(g: np.random.Generator, count: int, slots: int, largest: int) -> _Asks:
    work = g.choice(6, count, p=WORK_SHARE)
    devices = _sizes(g, work, largest)
    raw = np.exp(g.normal(np.log(10), 1.1, count)) * np.where(devices >= 512, 2, 1)
    lengths = np.array(LENGTHS)
    length = lengths[np.searchsorted(lengths, np.minimum(raw, slots / 3.5))]
    length = np.minimum(length, lengths[lengths <= slots / 3][-1])
    first = np.floor(g.random(count) * 0.85 * slots).astype(np.int64)
    first = np.minimum(first, np.maximum(0, slots - np.ceil(length * 1.3).astype(np.int64)))
    slack = length * (1.2 + 2.5 * g.random(count)) + g.integers(0, 37, count)
    last = np.minimum(slots, first + np.ceil(slack).astype(np.int64) + 1)
    due = np.minimum(last, first + np.ceil(length * 1.25).astype(np.int64) + 2)
    tier = g.choice(4, count, p=TIER_SHARE)
    value = 100 * np.array(TIER_VALUE)[tier] * np.exp(g.normal(0, 0.35, count)) * devices * length
    late = 0.4 * value / np.maximum(1, last - due)
    tenants = max(3, min(24, count // 200))
    share = 1 / np.arange(1, tenants + 1) ** 0.8
    tenant = g.choice(tenants, count, p=share / share.sum())
    return _Asks(work, devices, length, first, last, due, tier, value, late, tenant, tenants)


def _sizes(g: np.random.Generator, work: Ints, largest: int) -> Ints:
    """Devices: bounded Pareto, seven in ten rounded to powers of two, pre-training in whole racks."""
    racks = work == 0
    raw = (1 - g.random(len(work)) * (1 - largest**-PARETO)) ** (-1 / PARETO)
    raw = np.where(racks, np.minimum(np.maximum(raw * 8, RACK), max(RACK, largest)), raw)
    round_ones = g.random(len(work)) < 0.7
    devices = np.where(round_ones, 2.0 ** np.round(np.log2(raw)), np.ceil(raw)).astype(np.int64)
    return np.where(racks, _whole(devices, RACK), devices)


def _whole(devices: Ints, domain: int) -> Ints:
    """Rounded up to whole domains."""
    return -(-devices // domain) * domain


def _supply(g: np.random.Generator, count: int, slots: int, wanted: float) -> _Supply:
    """Pools of falling size whose capacity over the horizon sums to ``wanted`` device-slots."""
    kind = np.array((KINDS * count)[:count])
    base = (1 / (1 + np.arange(count) // 4) ** 0.5) * np.exp(g.normal(0, 0.3, count)) * np.array(SIZE)[kind]
    racked = (kind == NVL) | (kind == CONTRACT_NVL)
    domain = np.where(racked, RACK, NODE)
    level = np.stack([_level(g, slots) for _ in range(count)])
    raw = base[:, None] * level
    raw *= wanted / slots / raw.mean(axis=1).sum()
    capacity = (np.round(raw / domain[:, None]) * domain[:, None]).astype(np.int64)
    contract = (kind == CONTRACT_HGX) | (kind == CONTRACT_NVL)
    committed = np.where(contract[:, None], (capacity * 0.75).astype(np.int64), capacity)
    unit = np.round(100 * np.array(UNIT_COST)[kind] * np.exp(g.normal(0, 0.1, count))).astype(np.int64)
    overage = np.where(contract, np.round(100 * g.uniform(2.2, 3.8, count)), 0).astype(np.int64)
    ids = tuple(f"pool-{p}" for p in range(count))
    return _Supply(kind, domain, Pools(ids, capacity, committed, unit, overage))


def _level(g: np.random.Generator, slots: int) -> Floats:
    """Share of a pool that is there in each slot: it may ramp, is maintained about weekly, and may fail."""
    level = np.ones(slots)
    if g.random() < 0.35:
        begin, end = sorted(g.integers(0, slots, 2))
        level *= np.clip(0.25 + 0.75 * (np.arange(slots) - begin) / max(1, end - begin), 0.25, 1)
    for _ in range(g.poisson(slots / 168)):
        at = g.integers(0, slots)
        level[at : at + g.integers(4, 13)] *= 1 - g.uniform(0.08, 0.25)
    if g.random() < 0.10 * slots / 168:
        at = g.integers(0, slots)
        level[at : at + g.integers(2, 9)] = 0
    return level


def _requests(asks: _Asks) -> Requests:
    count = len(asks.work)
    nothing = np.zeros(count, np.int64)
    return Requests(
        ids=tuple(f"r{r}" for r in range(count)),
        quota=asks.tenant,
        guaranteed=asks.tier == 0,
        promised=np.zeros(count, np.bool_),
        current_option=nothing - 1,
        current_start=nothing - 1,
        move_cost=nothing,
    )


def _options(g: np.random.Generator, asks: _Asks, supply: _Supply) -> Options:
    """One option for each pool that is able, quick enough and large enough."""
    count, pools = len(asks.work), len(supply.kind)
    speed = np.array(SPEED)[:, supply.kind]  # [work, pool]
    offered = _able(g, asks, pools)
    chunks = [slice(a, min(count, a + CHUNK)) for a in range(0, count, CHUNK)]
    for chunk in chunks:
        _, devices, latest = _shapes(asks, supply, speed, chunk)
        offered[chunk] &= (speed[asks.work[chunk]] > 0) & (latest >= asks.first[chunk, None])
        offered[chunk] &= devices <= supply.pools.capacity.max(axis=1)
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(offered.sum(axis=1))))
    columns = [np.empty(int(first[-1]), np.int64) for _ in range(8)]
    for chunk in chunks:
        rows = slice(int(first[chunk.start]), int(first[chunk.stop]))
        request, pool = np.nonzero(offered[chunk])
        request += chunk.start
        made = [table[offered[chunk]] for table in _shapes(asks, supply, speed, chunk)]
        slots, devices, latest = made
        earliest = asks.first[request]
        due = np.minimum(latest, np.maximum(earliest, asks.due[request] - slots))
        money = asks.value[request].astype(np.int64), due, asks.late[request].astype(np.int64)
        for column, part in zip(columns, (pool, devices, slots, earliest, latest, *money), strict=True):
            column[rows] = part
    return Options(first, *columns)


def _able(g: np.random.Generator, asks: _Asks, pools: int) -> Bools:
    """Which pools a request may use, at random; each may use at least one."""
    count = len(asks.work)
    chance = np.where(asks.work == 0, 0.95, 0.75)
    able = np.empty((count, pools), np.bool_)
    for at in range(0, count, CHUNK):  # draws in parts are the draws of the whole
        part = chance[at : at + CHUNK, None]
        able[at : at + CHUNK] = g.random((len(part), pools)) < part
    able[np.arange(count), g.integers(0, pools, count)] = True
    return able


def _shapes(asks: _Asks, supply: _Supply, speed: Floats, chunk: slice) -> tuple[Ints, Ints, Ints]:
    """Slots, devices and last start by request and pool, wherever the request can run at all."""
    work, asked = asks.work[chunk], asks.devices[chunk]
    pace = speed[work]
    slots = np.ceil(asks.length[chunk, None] / np.where(pace > 0, pace, 1) - 1e-9).astype(np.int64)
    nodes = np.where(asked >= NODE, _whole(asked, NODE), asked)
    racks = np.where((work <= 1) & (asked > NODE), _whole(asked, RACK), nodes)
    devices = np.where(supply.domain == RACK, racks[:, None], nodes[:, None])
    return slots, devices, asks.last[chunk, None] - slots
