"""Gangs on domains: whether what a calendar promised by count has a place, and what the rule behind that costs.

    python -m bench.domains [--mixes 10000] [--proofs 200] [--seed 1] [--market 3]

Each mix is a pool of random size, cut in one of four ways, and two days of random gangs: whole domains, segments, and
loose ones. A calendar that only counts grants each gang its earliest start that fits; one in seven is withdrawn again,
and now and then domains are in maintenance. Every hour the pool is laid out, what has started is fixed, and the judge
of layouts looks at it: every gang granted must have its place, and keep it.

What it costs is a question of one hour: of a random crowd of gangs, how many trays can be in use at once, at most? The
best packing may mix whole racks, segments and loose trays in any way. It is bounded from above by counting trays as if
domains did not exist, and for ``--proofs`` small pools CP-SAT finds it exactly. Against it: every gang in whole racks;
racks of which some are given out eight devices at a time, as many in each pool as are best for its crowd, or the same
share in all pools. All of these are exact too, by dynamic programming. And turned round: how many racks would it take
to serve a whole crowd, down to its smallest gang?

``--market`` plans the demo's claims for so many seeds, on the default fleet and on the same counted in devices only.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.cli.fleet_file import default_fleet_text, fleet_from_text
from broker.cli.sample_claims import sample_claims
from broker.domain.claim import Ask, Claim, ClaimName, Tier, Waiting
from broker.domain.cut import Cut, in_pieces
from broker.domain.fleet import Delivery, Fleet, Maintenance, Pool, PoolKind, Silicon, WorkloadClass
from broker.domain.options import options
from broker.domain.slots import SLOT_SECONDS, Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.optimiser.compile import compile_problem
from broker.optimiser.report import Solved
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit
from broker.racks.check import violations
from broker.racks.layout import Stay, lay_out
from broker.racks.pool import room_of
from broker.transport.asks import ask
from broker.transport.fleets import fleet

__all__ = ["CUTS", "Gang", "Lived", "best_bound", "best_exact", "best_in_racks", "crowd", "life", "racks_needed"]

HOURS = 48
Ints = NDArray[np.int64]

# domain, tray, spare trays, trays of a slice (0: all)
CUTS = {
    "NVL72, whole racks": (72, 4, 0, 0),
    "NVL72, two spare trays": (72, 4, 2, 0),
    "NVL72, eight at a time": (72, 4, 0, 2),
    "HGX, whole nodes": (8, 8, 0, 0),
}
RACK, HALVES, EIGHTS = Cut(72, 4, 0, 18), Cut(72, 4, 0, 9), Cut(72, 4, 0, 2)
TRAYS = 18


class Gang(NamedTuple):
    """So many devices; in whole domains, in segments of so many (0: loose)."""

    devices: int
    whole: bool = False
    segment: int = 0


@dataclass(slots=True)
class Lived:
    """What became of the gangs of one mix; ``wrong`` is every rule that a layout broke."""

    granted: int = 0
    placed: int = 0
    layouts: int = 0
    wrong: list[str] = field(default_factory=list)


def _draw(words: str) -> random.Random:
    return random.Random(words)  # noqa: S311 - the same words, the same mix


def gang(draw: random.Random, domain: int, most: int, racks: float) -> Gang:
    """A gang of at most ``most`` devices; a share of ``racks`` are in whole domains."""
    if draw.random() < racks:
        return Gang(min(most, domain * draw.choice([1, 1, 2, 2, 4, 8])), whole=True)
    devices = min(most, draw.choice([4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 256, 12, 20, 48, 100]))
    return Gang(devices, segment=draw.choice([0, 0, min(devices, 32), min(devices, 64)]))


def life(name: str, seed: int) -> Lived:
    """Two days of one pool: grants by count, withdrawals, maintenance, and a layout every hour."""
    draw = _draw(f"{name} {seed}")
    domain, tray, spare, slice_trays = CUTS[name]
    domains = draw.randint(2, 12) if domain == 72 else draw.randint(8, 48)
    first = draw.randint(0, 30)
    away = Maintenance(tray * draw.randint(1, 40), first * SLOT_SECONDS, (first + 9) * SLOT_SECONDS)
    pool = Pool(
        id="p",
        kind=PoolKind.INTERNAL,
        silicon="b200",
        domain_devices=domain,
        deliveries=(Delivery(domain * domains),),
        maintenance=(away,) * draw.randint(0, 1),
        tray_devices=tray,
        spare_trays=spare,
        slice_trays=slice_trays,
    )
    cut = pool.cut
    assert cut is not None
    room, free = room_of(pool, cut), np.array(pool.supply().over(Window(0, HOURS)), np.int64)
    market = Fleet((Silicon("b200"),), (WorkloadClass("training", {"b200": 100}),), (pool,))
    lived, live, racks = Lived(), dict[str, Stay](), draw.random()
    for now in range(HOURS):
        for n in range(draw.randint(0, 3)):
            wanted = gang(draw, domain, domain * domains, racks)
            asked = _ask(wanted, draw.choice([1, 3, 6, 12, 24]), now + draw.randint(0, 4))
            if (granted := _grant(asked, market, free, f"{now}-{n}", cut)) is not None:
                live[granted.key] = granted
                lived.granted += 1
        if live and draw.random() < 1 / 7:
            gone = live.pop(draw.choice(sorted(live)))
            free[max(now, gone.window.first) : gone.window.end] += gone.slices * cut.slice_devices
        live = {key: stay for key, stay in live.items() if stay.window.end > now}
        found = lay_out(room, live.values(), now)
        lived.layouts += 1
        lived.wrong += violations(room, live.values(), found, now)
        lived.wrong += [f"{key} is displaced" for key in found.displaced]
        lived.wrong += [f"{out.key} has no place" for out in found.unseated]
        for key, stay in live.items():
            if stay.window.first <= now and not stay.seats:
                live[key] = stay._replace(seats=found.seats.get(key, {}))
                lived.placed += key in found.seats
    return lived


def _ask(wanted: Gang, slots: int, earliest: int) -> Ask:
    return Ask(
        workload_class="training",
        devices=wanted.devices,
        slots=slots,
        earliest=earliest,
        tier=Tier.STANDARD,
        value_microusd=1,
        gang=True,
        whole_domains=wanted.whole,
        min_domain_devices=wanted.segment,
    )


def _grant(asked: Ask, market: Fleet, free: Ints, key: str, cut: Cut) -> Stay | None:
    """The earliest start at which the gang fits by count."""
    for way in options(asked, market):
        for first in range(way.earliest, HOURS - way.slots + 1):
            if (free[first : first + way.slots] >= way.devices).all():
                free[first : first + way.slots] -= way.devices
                return Stay(key, Window(first, first + way.slots), way.devices // cut.slice_devices)
    return None


def crowd(seed: int, domains: int, load: int) -> list[Gang]:
    """Gangs that want about ``load`` percent of what a pool of so many racks has, all at once."""
    draw = _draw(f"crowd {seed}")
    racks, found, wanted = draw.random(), list[Gang](), 0
    while wanted < 72 * domains * load // 100:
        found.append(gang(draw, 72, 72 * domains, racks))
        wanted += found[-1].devices
    return found


def _trays(one: Gang) -> int:
    return -(-one.devices // RACK.tray_devices)


def best_bound(gangs: Iterable[Gang], domains: int) -> int:
    """The most trays in use if domains did not exist: no packing does better."""
    reached = 1  # bit n: n trays can be in use
    for one in gangs:
        reached |= reached << _trays(one)
    return (reached & ((1 << (TRAYS * domains + 1)) - 1)).bit_length() - 1


def best_in_racks(gangs: Iterable[Gang], domains: int) -> Ints:
    """By number of racks that are given out eight devices at a time: the most trays in use."""
    eights = EIGHTS.per_domain
    most = np.zeros((domains + 1, eights * domains + 1), np.int64)  # whole racks used, slices of eight used
    for one in gangs:
        before, value = most.copy(), _trays(one)
        for cut, axis in ((RACK, 0), (EIGHTS, 1)):
            if (piece := cut.piece(whole_domains=one.whole, segment=one.segment)) is not None:
                n = in_pieces(one.devices, *piece) // cut.slice_devices
                if n < before.shape[axis]:
                    target, source = ((np.s_[n:], np.s_[:-n]), (np.s_[:, n:], np.s_[:, :-n]))[axis]
                    np.maximum(most[target], before[source] + value, out=most[target])
    return np.array([most[domains - split, eights * split] for split in range(domains + 1)], np.int64)


def best_exact(gangs: Sequence[Gang], domains: int, *, seconds: float = 20.0) -> int | None:
    """The most trays in use in any packing of whole racks, segments in racks and loose trays; None: not proven."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    takes = [model.new_bool_var("") for _ in gangs]
    racks = model.new_int_var(0, domains, "")  # those that whole gangs have; they are the last
    model.add(racks == sum(-(-one.devices // 72) * take for one, take in zip(gangs, takes, strict=True) if one.whole))
    inside: list[list[cp_model.LinearExprT]] = [[] for _ in range(domains)]
    for one, take in zip(gangs, takes, strict=True):
        if one.segment and not one.whole:
            sizes = [min(one.segment, one.devices - at) for at in range(0, one.devices, one.segment)]
            for size in sizes:
                where = [model.new_bool_var("") for _ in range(domains)]
                model.add(sum(where) == take)
                for rack, here in enumerate(where):
                    inside[rack].append(-(-size // 4) * here)
    for rack in range(domains):
        shared = model.new_bool_var("")
        model.add(racks <= domains - rack - 1).only_enforce_if(shared)
        model.add(sum(inside[rack]) <= TRAYS * shared)
    used = sum(_trays(one) * take for one, take in zip(gangs, takes, strict=True) if not one.whole)
    model.add(used + TRAYS * racks <= TRAYS * domains)
    model.maximize(sum(_trays(one) * take for one, take in zip(gangs, takes, strict=True)))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers, solver.parameters.max_time_in_seconds = 1, seconds
    return round(solver.objective_value) if solver.solve(model) == cp_model.OPTIMAL else None


def _lives(mixes: int, seed: int) -> bool:
    print(f"{'pool':24} {'mixes':>6} {'granted':>9} {'started':>9} {'layouts':>9} {'placed':>9} {'seconds':>8}")
    good = True
    for n, name in enumerate(CUTS):
        started, count = time.perf_counter(), len(range(n, mixes, len(CUTS)))
        lives = [life(name, seed * mixes + one) for one in range(count)]
        granted, placed, layouts = (sum(getattr(x, what) for x in lives) for what in ("granted", "placed", "layouts"))
        wrong = [words for lived in lives for words in lived.wrong]
        share = f"{100 * (1 - len(wrong) / max(1, granted)):.2f} %"
        seconds = time.perf_counter() - started
        print(f"{name:24} {count:6,} {granted:9,} {placed:9,} {layouts:9,} {share:>9} {seconds:8.1f}", flush=True)
        for words in wrong[:3]:
            print("  wrong:", words)
        good &= not wrong
    return good


def racks_needed(gangs: Sequence[Gang], cuts: Sequence[Cut]) -> int:
    """Racks that serve everybody, each rack cut in one of these ways, each gang where it takes least."""
    taken = [0] * len(cuts)  # slices of each kind
    for one in gangs:
        ways = []
        for k, cut in enumerate(cuts):
            if (piece := cut.piece(whole_domains=one.whole, segment=one.segment)) is not None:
                slices = in_pieces(one.devices, *piece) // cut.slice_devices
                ways.append((slices / cut.per_domain, k, slices))
        _, k, slices = min(ways)
        taken[k] += slices
    return sum(-(-slices // cut.per_domain) for slices, cut in zip(taken, cuts, strict=True))


def _losses(mixes: int, seed: int, load: int) -> None:
    """Shares of the bound, in trays over all crowds."""
    started, rows = time.perf_counter(), list[tuple[int, int, Ints]]()
    needed = [0] * 4
    for n in range(mixes):
        domains = _draw(f"racks {seed} {n}").randint(4, 16)
        gangs = crowd(seed * mixes + n, domains, load)
        rows.append((domains, best_bound(gangs, domains), best_in_racks(gangs, domains)))
        needed[0] += -(-sum(map(_trays, gangs)) // TRAYS)
        for k, cuts in enumerate(((RACK,), (RACK, EIGHTS), (RACK, HALVES, EIGHTS))):
            needed[k + 1] += racks_needed(gangs, cuts)
    total = sum(bound for _, bound, _ in rows)
    fixed = {
        share: sum(int(found[round(share / 100 * domains)]) for domains, _, found in rows) for share in range(0, 101, 5)
    }
    share = max(fixed, key=lambda share: fixed[share])
    seconds = time.perf_counter() - started
    print(f"\n{mixes:,} crowds that want {load} % of their racks, {seconds:.0f} s; lost of the bound of any packing:")
    best = sum(int(found.max()) for _, _, found in rows)
    for words, trays in (
        ("all racks given out whole", fixed[0]),
        (f"{share} % of the racks eight devices at a time, in all pools", fixed[share]),
        ("as many of the racks eight at a time as are best for each pool", best),
    ):
        print(f"  {words:66} {100 * (1 - trays / total):6.2f} %")
    kinds = ("whole racks", "whole racks, and eight at a time", "whole racks, halves, and eight at a time")
    for words, racks in zip(kinds, needed[1:], strict=True):
        print(f"  to serve everybody in {words:44} {100 * (1 - needed[0] / racks):6.2f} %")


def _proofs(proofs: int, seed: int, load: int) -> None:
    bound = exact = ours = count = 0
    for n in range(proofs):
        domains = _draw(f"proof {seed} {n}").randint(2, 5)
        gangs = crowd(seed * 1_000_003 + n, domains, load)
        if (best := best_exact(gangs, domains)) is not None:
            bound += best_bound(gangs, domains)
            exact, ours, count = exact + best, ours + int(best_in_racks(gangs, domains).max()), count + 1
    if exact:
        print(
            f"  {count} of {proofs} small pools proven by CP-SAT: any packing loses {100 * (1 - exact / bound):.2f} %,"
        )
        print(f"  as many of the racks eight at a time as are best for each pool {100 * (1 - ours / bound):.2f} %")


def _market(seed: int, *, cut: bool) -> Solved:
    """The claims of the demo, planned by work and not by time; all that cannot be asked is left out."""
    start = datetime(2026, 11, 27, tzinfo=UTC)
    slot = int(start.timestamp()) // SLOT_SECONDS
    declared = fleet(fleet_from_text(default_fleet_text(), today=start))
    if not cut:
        plain = (replace(pool, tray_devices=0, spare_trays=0, slice_trays=0) for pool in declared.pools)
        declared = replace(declared, pools=tuple(plain))
    claims = [
        Claim(ClaimName(one.tenant, one.id), ask(one.claim), Waiting(()), slot * SLOT_SECONDS, slot * SLOT_SECONDS, 1)
        for one in sample_claims(seed=seed, start=start)
        if all(choice.silicon in declared.silicon_names for choice in one.claim.silicon)
    ]
    horizon = Window(slot, slot + 28 * 24 + 200)
    compiled = compile_problem(Snapshot("bench", 1, declared, tuple(claims)), horizon, Terms())
    return solve(compiled.problem, stop=WorkLimit(12_000), seed=1)


def _markets(seeds: int) -> None:
    for seed in range(1, seeds + 1):
        for words, cut in (("counted in devices", False), ("in slices", True)):
            solved = _market(seed, cut=cut)
            served = int((solved.plan.option >= 0).sum())
            million = f"worth ${solved.objective / 1e12:.2f}m, no plan above ${solved.bound / 1e12:.2f}m"
            print(f"demo, seed {seed}, {words:19} {million}, {served} parts of claims", flush=True)


def main() -> int:
    """0 if every gang that was granted has its place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixes", type=int, default=10_000)
    parser.add_argument("--proofs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--market", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.market:
        _markets(arguments.market)
        return 0
    good = _lives(arguments.mixes, arguments.seed)
    for load in (100, 150):
        _losses(arguments.mixes, arguments.seed, load)
        _proofs(arguments.proofs, arguments.seed, load)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
