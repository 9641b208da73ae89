"""Problems and plans as files: the public JSON formats, plain or gzip.

The formats are documented in ``docs/optimiser.md``. Reading is strict: a file is either a problem whose every number
the optimiser can trust, or a fault that names the first bad field.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from broker.optimiser.fields import (
    LARGEST,
    ProblemFileError,
    column,
    fault,
    ids,
    integer,
    is_pair,
    obj,
    objects,
    steps,
    table,
)
from broker.optimiser.problem import Ints, Options, Plan, Pools, Problem, Quotas, Requests, Reserve
from broker.optimiser.report import Solved

__all__ = [
    "PLAN_FORMAT",
    "PROBLEM_FORMAT",
    "PlanFileError",
    "ProblemFileError",
    "plan_from",
    "problem_document",
    "problem_from",
    "read_plan",
    "read_problem",
    "write_plan",
    "write_problem",
]

PROBLEM_FORMAT = "capacity-plan-problem/1"
PLAN_FORMAT = "capacity-plan/1"
CELLS_MAX = 2**27  # pools and quotas times slots: 1 GiB a column


class PlanFileError(ValueError):
    """The plan file breaks the format, or names what the problem does not have."""


def read_problem(path: str | Path) -> Problem:
    """The problem in a ``.json`` or ``.json.gz`` file.

    Raises ``ProblemFileError`` for any content that is not a problem, ``OSError`` when the file cannot be opened.
    """
    return problem_from(_load(path, ProblemFileError))


def write_problem(problem: Problem, path: str | Path) -> None:
    """Write a problem so that reading it gives the same columns; options without a legal start are not written."""
    _dump(problem_document(problem), path)


def read_plan(path: str | Path, problem: Problem) -> Plan:
    """The plan in a file, as choices for the requests of ``problem``.

    Raises ``PlanFileError`` for what is not a plan of this problem; whether it keeps the rules is for ``check`` to say.
    """
    return plan_from(_load(path, PlanFileError), problem)


def write_plan(problem: Problem, solved: Solved, path: str | Path) -> None:
    """Write the plan with its objective, bound, seconds and status."""
    plan = solved.plan
    placed = np.flatnonzero(plan.option >= 0)
    ids = problem.requests.ids
    placements = [
        {"request": ids[r], "option": k, "start": s}
        for r, k, s in zip(placed.tolist(), plan.option[placed].tolist(), plan.start[placed].tolist(), strict=True)
    ]
    document = {
        "format": PLAN_FORMAT,
        "placements": placements,
        "objective": solved.objective,
        "bound": solved.bound,
        "gap": solved.gap,
        "seconds": round(solved.report.seconds, 3),
        "status": str(solved.status),
    }
    _dump(document, path)


def problem_from(document: object) -> Problem:
    """The problem that a decoded JSON document states; ``ProblemFileError`` where it states none."""
    top = obj(document, "the file")
    if top.get("format") != PROBLEM_FORMAT:
        raise ProblemFileError(f"format: {top.get('format')!r:.80} is not {PROBLEM_FORMAT!r}")
    slots = integer(top, "slots", "", low=1)
    hours = integer(top, "slot_hours", "", low=1, default=1)
    pool_rows, quota_rows = objects(top, "pools"), objects(top, "quotas", default=[])
    if (2 * len(pool_rows) + len(quota_rows) + 1) * slots > CELLS_MAX:
        raise ProblemFileError(f"slots: {slots} is too long a horizon for so many pools and quotas")
    pools = _pools(pool_rows, slots)
    quotas = Quotas(
        ids(quota_rows, "quotas"),
        table([steps(q, "limit", f"quotas[{n}]", slots) for n, q in enumerate(quota_rows)], slots),
    )
    rows = objects(top, "requests")
    counts, options = _options(rows, pools)
    requests = _requests(rows, counts, quotas)
    reserve_rows = objects(top, "reserves", default=[])
    place = {pool: p for p, pool in enumerate(pools.ids)}
    reserves = tuple(_reserve(r, f"reserves[{n}]", place, slots) for n, r in enumerate(reserve_rows))
    return Problem(slots, hours, pools, quotas, requests, options, reserves)


def _pools(rows: Sequence[dict[str, Any]], slots: int) -> Pools:
    capacity, committed = [], []
    for n, row in enumerate(rows):
        at = f"pools[{n}]"
        capacity.append(steps(row, "capacity", at, slots))
        committed.append(steps(row, "committed", at, slots) if "committed" in row else capacity[-1])
    unit = [integer(row, "unit_cost", f"pools[{n}]", low=0, default=0) for n, row in enumerate(rows)]
    over = [integer(row, "overage_cost", f"pools[{n}]", low=0, default=0) for n, row in enumerate(rows)]
    return Pools(ids(rows, "pools"), table(capacity, slots), table(committed, slots), column(unit), column(over))


def _requests(rows: Sequence[dict[str, Any]], counts: Ints, quotas: Quotas) -> Requests:
    places: dict[str | None, int] = {None: -1, **{quota: q for q, quota in enumerate(quotas.ids)}}
    size = len(rows)
    quota = np.full(size, -1, np.int64)
    flags = np.zeros((2, size), np.bool_)
    current = np.full((2, size), -1, np.int64)
    move = np.zeros(size, np.int64)
    for n, row in enumerate(rows):
        name = row.get("quota")
        if not (name is None or isinstance(name, str)) or name not in places:
            raise ProblemFileError(f"requests[{n}].quota: no quota {name!r:.80}")
        quota[n] = places[name]
        for flag, key in enumerate(("guaranteed", "promised")):
            mark = row.get(key, False)
            if not isinstance(mark, bool):
                raise ProblemFileError(f"requests[{n}].{key}: {mark!r:.80} is neither true nor false")
            flags[flag, n] = mark
        now = row.get("current")
        if now is not None:
            at = f"requests[{n}].current"
            current[0, n] = integer(obj(now, at), "option", at, low=0, high=int(counts[n]) - 1)
            current[1, n] = integer(now, "start", at)
            move[n] = integer(row, "move_cost", f"requests[{n}]", low=0, default=0)
        elif flags[1, n]:
            raise ProblemFileError(f"requests[{n}].promised: a promise needs a current placement")
    return Requests(ids(rows, "requests"), quota, flags[0], flags[1], current[0], current[1], move)


def _options(rows: Sequence[dict[str, Any]], pools: Pools) -> tuple[Ints, Options]:
    """Options of all requests at once: lists by field, then one conversion and one check for each column."""
    counts, flat = _option_rows(rows)
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))

    def at(k: int) -> str:
        n = int(np.searchsorted(first, k, side="right")) - 1
        return f"requests[{n}].options[{k - int(first[n])}]"

    places = {pool: p for p, pool in enumerate(pools.ids)}
    names = [option.get("pool") for option in flat]
    for k, name in enumerate(names):
        if not isinstance(name, str) or name not in places:
            raise ProblemFileError(f"{at(k)}.pool: no pool {name!r:.80}")

    def ints(field: str, values: list[Any], low: int) -> Ints:
        for k, value in enumerate(values):
            if type(value) is not int or not low <= value <= LARGEST:
                raise ProblemFileError(f"{at(k)}.{field}: {fault(value, low, LARGEST)}")
        return column(values)

    earliest = ints("start[0]", [option["start"][0] for option in flat], 0)
    latest = ints("start[1]", [option["start"][1] for option in flat], 0)
    if (earliest > latest).any():
        k = int(np.flatnonzero(earliest > latest)[0])
        raise ProblemFileError(f"{at(k)}.start: lo {earliest[k]} above hi {latest[k]}")
    options = Options(
        first=first,
        pool=column([places[name] for name in names if name is not None]),
        devices=ints("devices", [option.get("devices") for option in flat], 1),
        slots=ints("slots", [option.get("slots") for option in flat], 1),
        earliest=earliest,
        latest=latest,
        value=ints("value", [option.get("value") for option in flat], -LARGEST),
        due=ints("due", [option.get("due", option["start"][1]) for option in flat], -LARGEST),
        late_cost=ints("late_cost", [option.get("late_cost", 0) for option in flat], 0),
    )
    return counts, options


def _option_rows(rows: Sequence[dict[str, Any]]) -> tuple[Ints, list[dict[str, Any]]]:
    """How many options each request has, and all of them in one list; each is an object with a pair as start."""
    counts: list[int] = []
    flat: list[dict[str, Any]] = []
    for n, row in enumerate(rows):
        found = row.get("options")
        if not isinstance(found, list):
            raise ProblemFileError(f"requests[{n}].options: {found!r:.80} is not a list")
        for k, option in enumerate(found):
            if not isinstance(option, dict):
                raise ProblemFileError(f"requests[{n}].options[{k}]: {option!r:.80} is not an object")
            if not is_pair(option.get("start")):
                raise ProblemFileError(f"requests[{n}].options[{k}].start: {option.get('start')!r:.80} is not [lo, hi]")
        counts.append(len(found))
        flat += found
    return column(counts), flat


def _reserve(row: dict[str, Any], at: str, places: dict[str, int], slots: int) -> Reserve:
    lost, covers = row.get("lost"), row.get("covers")
    if not isinstance(lost, str) or lost not in places:
        raise ProblemFileError(f"{at}.lost: no pool {lost!r:.80}")
    if not isinstance(covers, list):
        raise ProblemFileError(f"{at}.covers: {covers!r:.80} is not a list of pools")
    for name in covers:
        if not isinstance(name, str) or name not in places:
            raise ProblemFileError(f"{at}.covers: no pool {name!r:.80}")
    beside = row.get("beside", [])
    if not isinstance(beside, list) or not all(isinstance(name, str) and name in places for name in beside):
        raise ProblemFileError(f"{at}.beside: {beside!r:.80} is not a list of pools")
    window = row.get("slots", [0, slots])
    if not is_pair(window) or not all(type(edge) is int for edge in window):
        raise ProblemFileError(f"{at}.slots: {window!r:.80} is not [from, to)")
    if not 0 <= window[0] <= window[1] <= slots:
        raise ProblemFileError(f"{at}.slots: [{window[0]}, {window[1]}) leaves the horizon of {slots} slots")
    rows = (tuple(places[name] for name in names) for names in (covers, beside))
    return Reserve(places[lost], next(rows), window[0], window[1], next(rows))


def plan_from(document: object, problem: Problem) -> Plan:
    """The plan that a decoded JSON document states; ``PlanFileError`` where it states none of this problem."""
    if not isinstance(document, dict) or document.get("format", PLAN_FORMAT) != PLAN_FORMAT:
        raise PlanFileError(f"format: not {PLAN_FORMAT!r}")
    lines = document.get("placements")
    if not isinstance(lines, list):
        raise PlanFileError(f"placements: {lines!r:.80} is not a list")
    rows = {name: r for r, name in enumerate(problem.requests.ids)}
    plan = Plan.empty(len(rows))
    for n, line in enumerate(lines):
        name = line.get("request") if isinstance(line, dict) else None
        if not isinstance(name, str) or name not in rows:
            raise PlanFileError(f"placements[{n}].request: no request {name!r:.80}")
        option, start = line.get("option"), line.get("start")
        for field, value in (("option", option), ("start", start)):
            if type(value) is not int or not 0 <= value <= LARGEST:
                raise PlanFileError(f"placements[{n}].{field}: {fault(value, 0, LARGEST)}")
        if plan.option[rows[name]] >= 0:
            raise PlanFileError(f"placements[{n}].request: {name!r:.80} is placed twice")
        plan.option[rows[name]], plan.start[rows[name]] = option, start
    return plan


def problem_document(problem: Problem) -> dict[str, object]:
    """The problem as the JSON document that ``problem_from`` turns into the same columns."""
    pools = problem.pools
    document: dict[str, object] = {
        "format": PROBLEM_FORMAT,
        "slots": problem.slots,
        "slot_hours": problem.slot_hours,
        "pools": [
            {
                "id": name,
                "capacity": _step_list(pools.capacity[p]),
                "unit_cost": int(pools.unit_cost[p]),
                "committed": _step_list(pools.committed[p]),
                "overage_cost": int(pools.overage_cost[p]),
            }
            for p, name in enumerate(pools.ids)
        ],
        "quotas": [
            {"id": name, "limit": _step_list(problem.quotas.limit[q])} for q, name in enumerate(problem.quotas.ids)
        ],
        "requests": [_request_document(problem, r, options) for r, options in enumerate(_option_documents(problem))],
    }
    if problem.reserves:
        document["reserves"] = [
            {
                "lost": pools.ids[reserve.lost],
                "covers": [pools.ids[p] for p in reserve.covers],
                "slots": [reserve.first_slot, reserve.end_slot],
            }
            | ({"beside": [pools.ids[p] for p in reserve.beside]} if reserve.beside else {})
            for reserve in problem.reserves
        ]
    return document


def _option_documents(problem: Problem) -> list[list[dict[str, object]]]:
    o, names = problem.options, problem.pools.ids
    columns = (o.pool, o.devices, o.slots, o.earliest, o.latest, o.value, o.due, o.late_cost)
    rows: list[dict[str, object]] = [
        {"pool": names[p], "devices": d, "slots": n, "start": [lo, hi], "value": v, "due": due, "late_cost": late}
        for p, d, n, lo, hi, v, due, late in zip(*(c.tolist() for c in columns), strict=True)
    ]
    first = o.first.tolist()
    return [rows[a:b] for a, b in pairwise(first)]


def _request_document(problem: Problem, r: int, options: list[dict[str, object]]) -> dict[str, object]:
    requests = problem.requests
    quota = int(requests.quota[r])
    row: dict[str, object] = {
        "id": requests.ids[r],
        "quota": problem.quotas.ids[quota] if quota >= 0 else None,
        "guaranteed": bool(requests.guaranteed[r]),
        "options": options,
    }
    if requests.current_option[r] >= 0:
        row["current"] = {"option": int(requests.current_option[r]), "start": int(requests.current_start[r])}
        row["move_cost"] = int(requests.move_cost[r])
    if requests.promised[r]:
        row["promised"] = True
    return row


def _step_list(row: Ints) -> list[list[int]]:
    change = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(np.diff(row)) + 1))
    return [[t, level] for t, level in zip(change.tolist(), row[change].tolist(), strict=True)]


def _load(path: str | Path, fail: type[ProblemFileError] | type[PlanFileError]) -> object:
    content = Path(path).read_bytes()
    try:
        if str(path).endswith(".gz"):
            content = gzip.decompress(content)
        return json.loads(content)
    except (ValueError, EOFError, RecursionError, zlib.error, gzip.BadGzipFile) as error:
        raise fail(f"the file: not JSON: {error!s:.200}") from error


def _dump(document: dict[str, object], path: str | Path) -> None:
    content = json.dumps(document).encode()
    # Without a time stamp the same problem gives the same bytes.
    Path(path).write_bytes(gzip.compress(content, 6, mtime=0) if str(path).endswith(".gz") else content)
