"""Tiny worlds, and a second opinion on them that is slow, obvious and shares nothing with the optimiser."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from broker.optimiser.files import problem_from
from broker.optimiser.problem import Plan, Problem

Document = dict[str, Any]
Placement = tuple[int, int] | None


def level(steps: list[list[int]], slot: int) -> int:
    """The level of a step list in one slot."""
    return [value for first, value in steps if first <= slot][-1]


def judge(document: Document, plan: list[Placement]) -> tuple[bool, int]:
    """Whether placements keep every rule, and their worth: the rules read aloud, slot by slot."""
    slots = document["slots"]
    pools = {pool["id"]: pool for pool in document["pools"]}
    running: list[tuple[Document, Document, int]] = []
    ok, worth = True, 0
    for request, placement in zip(document["requests"], plan, strict=True):
        now = request.get("current")
        if now and placement != (now["option"], now["start"]):
            worth -= request.get("move_cost", 0)
        if placement is None:
            ok &= not request.get("promised", False)
            continue
        option = request["options"][placement[0]]
        start = placement[1]
        ok &= option["start"][0] <= start <= option["start"][1] and start + option["slots"] <= slots
        worth += option["value"] - option.get("late_cost", 0) * max(0, start - option.get("due", option["start"][1]))
        running.append((request, option, start))
    for slot in range(slots):
        here = [(r, o) for r, o, start in running if start <= slot < start + o["slots"]]
        used = {name: sum(o["devices"] for _, o in here if o["pool"] == name) for name in pools}
        sure = {name: sum(o["devices"] for r, o in here if o["pool"] == name and r.get("guaranteed")) for name in pools}
        for name, pool in pools.items():
            capacity = level(pool["capacity"], slot)
            paid = level(pool.get("committed", pool["capacity"]), slot)
            ok &= used[name] <= capacity
            worth -= pool.get("unit_cost", 0) * used[name]
            worth -= pool.get("overage_cost", 0) * max(0, used[name] - paid)
        for quota in document.get("quotas", []):
            held = sum(o["devices"] for r, o in here if r.get("quota") == quota["id"])
            ok &= held <= level(quota["limit"], slot)
        for reserve in document.get("reserves", []):
            first, end = reserve.get("slots", [0, slots])
            if first <= slot < end:
                room = sum(level(pools[name]["capacity"], slot) - sure[name] for name in reserve["covers"])
                ok &= sure[reserve["lost"]] <= room
    return bool(ok), worth


def columns(document: Document, request: Document) -> list[Placement]:
    """Every placement that a request could have, and none."""
    found: list[Placement] = [None]
    for k, option in enumerate(request["options"]):
        last = min(option["start"][1], document["slots"] - option["slots"])
        found += [(k, start) for start in range(option["start"][0], last + 1)]
    return found


def best_worth(document: Document) -> int | None:
    """The worth of the best plan by trying all; None when promises cannot be kept together."""
    everything = itertools.product(*(columns(document, request) for request in document["requests"]))
    worths = [worth for ok, worth in (judge(document, list(plan)) for plan in everything) if ok]
    return max(worths, default=None)


def tiny_document(seed: int) -> Document:
    """A problem small enough to try every plan, with every feature now and then."""
    draw = random.Random(seed)
    slots = draw.randint(1, 5)

    def steps(most: int) -> list[list[int]]:
        more = [[slot, draw.randint(0, most)] for slot in range(1, slots) if draw.random() < 0.25]
        return [[0, draw.randint(0, most)], *more]

    pools: list[Document] = []
    for n in range(draw.randint(1, 3)):
        pool: Document = {"id": f"p{n}", "capacity": steps(6)}
        if draw.random() < 0.4:
            pool |= {"committed": steps(5), "overage_cost": draw.randint(0, 12)}
        if draw.random() < 0.3:
            pool["unit_cost"] = draw.randint(0, 6)
        pools.append(pool)
    quotas: list[Document] = [{"id": f"q{n}", "limit": steps(6)} for n in range(draw.randint(0, 2))]
    requests = [tiny_request(draw, n, slots, len(pools), len(quotas)) for n in range(draw.randint(1, 4))]
    document: Document = {"format": "capacity-plan-problem/1", "slots": slots, "slot_hours": 1}
    document |= {"pools": pools, "quotas": quotas, "requests": requests}
    if draw.random() < 0.4:
        covers = [pool["id"] for pool in pools if draw.random() < 0.7]
        first = draw.randint(0, slots)
        document["reserves"] = [{"lost": "p0", "covers": covers, "slots": [first, draw.randint(first, slots)]}]
    return document


def tiny_request(draw: random.Random, n: int, slots: int, pools: int, quotas: int) -> Document:
    options: list[Document] = []
    for _ in range(draw.randint(0, 2)):
        low = draw.randint(0, slots - 1)
        high = draw.randint(low, min(slots - 1, low + 2))
        option: Document = {"pool": f"p{draw.randrange(pools)}", "devices": draw.randint(1, 4)}
        option |= {"slots": draw.randint(1, 3), "start": [low, high], "value": draw.randint(-5, 60)}
        if draw.random() < 0.4:
            option |= {"due": draw.randint(0, high), "late_cost": draw.randint(0, 9)}
        options.append(option)
    request: Document = {"id": f"r{n}", "guaranteed": draw.random() < 0.5, "options": options}
    request["quota"] = f"q{draw.randrange(quotas)}" if quotas and draw.random() < 0.6 else None
    if options and draw.random() < 0.3:
        present = draw.randrange(len(options))
        request["current"] = {"option": present, "start": draw.randint(*options[present]["start"])}
        request["move_cost"] = draw.randint(0, 20)
        request["promised"] = draw.random() < 0.3
    return request


def medium_document(seed: int, requests: int = 60, pools: int = 3, slots: int = 24) -> Document:
    """A crowded market that no brute force could search."""
    draw = random.Random(seed)
    document: Document = {"format": "capacity-plan-problem/1", "slots": slots}
    document["pools"] = [{"id": f"p{n}", "capacity": [[0, 12]]} for n in range(pools)]
    document["pools"][0] |= {"committed": [[0, 8]], "overage_cost": 40}
    document["quotas"] = [{"id": "q", "limit": [[0, 14], [12, 20]]}]
    document["reserves"] = [{"lost": "p0", "covers": [f"p{n}" for n in range(1, pools)]}]
    rows = []
    for n in range(requests):
        devices, length, low = draw.choice([1, 1, 2, 3, 4, 8]), draw.randint(1, 8), draw.randint(0, slots - 9)
        value = round(devices * length * 100 * draw.uniform(0.5, 3))
        options = [
            {"pool": f"p{p}", "devices": devices, "slots": length, "start": [low, low + draw.randint(0, 8)]}
            | {"value": value, "due": low + 4, "late_cost": value // 20}
            for p in range(pools)
            if draw.random() < 0.8
        ]
        row = {"id": f"r{n}", "quota": draw.choice(["q", None]), "guaranteed": draw.random() < 0.2, "options": options}
        rows.append(row)
    document["requests"] = rows
    return document


def plan_from_choices(choices: list[Placement]) -> Plan:
    """Columns of a list of placements."""
    pairs = [choice if choice is not None else (-1, 0) for choice in choices]
    return Plan(np.array([k for k, _ in pairs], np.int64), np.array([s for _, s in pairs], np.int64))


@pytest.fixture(scope="session")
def tiny() -> Callable[[int], Document]:
    return tiny_document


@pytest.fixture(scope="session")
def medium() -> Problem:
    return problem_from(medium_document(7))


@pytest.fixture(scope="session")
def crowd() -> Callable[..., Document]:
    return medium_document


@pytest.fixture(scope="session")
def worth() -> Callable[[Document, list[Placement]], tuple[bool, int]]:
    return judge


@pytest.fixture(scope="session")
def optimum() -> Callable[[Document], int | None]:
    return best_worth


@pytest.fixture(scope="session")
def choices() -> Callable[[Document, Document], list[Placement]]:
    return columns


@pytest.fixture(scope="session")
def chosen() -> Callable[[list[Placement]], Plan]:
    return plan_from_choices
