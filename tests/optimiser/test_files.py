"""Files: an exact round trip, and one clear fault for anything else."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.optimiser.files import (
    PlanFileError,
    ProblemFileError,
    plan_from,
    problem_document,
    problem_from,
    read_plan,
    read_problem,
    write_plan,
    write_problem,
)
from broker.optimiser.problem import Plan, Problem, Status
from broker.optimiser.report import Prices, Report, Solved

Document = dict[str, Any]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def same(a: object, b: object) -> bool:
    """Equality through dataclasses of arrays."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if hasattr(a, "__dataclass_fields__"):
        return all(same(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)
    return a == b


@given(seed=st.integers(0, 10**9))
def test_round_trip_is_exact(seed: int, tiny: Callable[[int], Document]) -> None:
    problem = problem_from(tiny(seed))
    again = problem_from(json.loads(json.dumps(problem_document(problem))))
    assert same(problem, again)


@pytest.mark.parametrize("name", ["p.json", "p.json.gz"])
def test_files_plain_and_gzip(name: str, tmp_path: Path, medium: Problem) -> None:
    write_problem(medium, tmp_path / name)
    assert same(read_problem(tmp_path / name), medium)


def paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*path, key))
    return found


@given(seed=st.integers(0, 10**6), data=st.data(), junk=JSON)
def test_a_spoilt_document_is_read_or_refused(
    seed: int, data: st.DataObject, junk: object, tiny: Callable[[int], Document]
) -> None:
    document = copy.deepcopy(tiny(seed))
    path = data.draw(st.sampled_from(paths(document)[1:]))
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[path[-1]] = junk
    else:
        del inner[path[-1]]
    with contextlib.suppress(ProblemFileError):
        assert same(problem_from(problem_document(problem_from(document))), problem_from(document))


@given(content=st.binary(max_size=60), name=st.sampled_from(["x.json", "x.json.gz"]))
def test_bytes_that_are_no_problem(content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    with pytest.raises(ProblemFileError):
        read_problem(path)


@given(junk=JSON)
def test_json_that_is_no_problem(junk: object, medium: Problem) -> None:
    with pytest.raises(ProblemFileError):
        problem_from(junk)
    with pytest.raises(PlanFileError):
        plan_from(junk, medium)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.json.gz"
    path.write_bytes(gzip.compress(b"[" * 200_000))
    with pytest.raises(ProblemFileError):
        read_problem(path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("requests", 0, "options", 0, "start"), [5, 3], r"requests\[0\].options\[0\].start: lo 5 above hi 3"),
        (("requests", 0, "options", 0, "devices"), 0, r"requests\[0\].options\[0\].devices: 0 is below 1"),
        (("requests", 0, "options", 0, "value"), 1.5, r"options\[0\].value: 1.5 is not an integer"),
        (("requests", 0, "options", 0, "slots"), True, r"options\[0\].slots: True is not an integer"),
        (("requests", 0, "options", 0, "value"), 2**53, r"options\[0\].value: .* is above"),
        (("requests", 0, "options", 0, "pool"), "zz", r"options\[0\].pool: no pool 'zz'"),
        (("requests", 0, "quota"), "zz", r"requests\[0\].quota: no quota 'zz'"),
        (("requests", 0, "promised"), True, r"requests\[0\].promised: a promise needs a current placement"),
        (("requests", 0, "current"), {"option": 9, "start": 0}, r"requests\[0\].current.option: 9 is above"),
        (("requests", 1, "id"), "r0", r"requests\[1\].id: 'r0' repeats"),
        (("pools", 0, "capacity"), [[1, 2]], r"pools\[0\].capacity\[0\]: slots start at 0"),
        (("pools", 0, "capacity"), [[0, 2], [0, 3]], r"pools\[0\].capacity\[1\]: slots start at 0 and rise"),
        (("pools", 0, "capacity"), [], r"pools\[0\].capacity: \[\] is not a step list"),
        (("pools", 0, "overage_cost"), -1, r"pools\[0\].overage_cost: -1 is below 0"),
        (("reserves", 0, "slots"), [0, 99], r"reserves\[0\].slots: \[0, 99\) leaves the horizon"),
        (("slots",), 10**12, r"slots: 1000000000000 is too long"),
        (("format",), "other/2", r"format: 'other/2'"),
    ],
)
def test_faults_name_the_field(
    path: tuple[Any, ...], value: object, message: str, crowd: Callable[..., Document]
) -> None:
    document = crowd(3)
    document["requests"][0]["options"] = [{"pool": "p0", "devices": 1, "slots": 1, "start": [0, 3], "value": 1}]
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ProblemFileError, match=message):
        problem_from(document)


def test_plan_round_trip(tmp_path: Path, medium: Problem) -> None:
    size = len(medium.requests.ids)
    plan = Plan(np.where(np.arange(size) % 3 == 0, 0, -1), np.where(np.arange(size) % 3 == 0, np.arange(size), 0))
    report = Report(1, 0.5, size, 20, 0, 0, 1, 0, ())
    solved = Solved(plan, 7, 9.5, Prices.zero(medium), Status.FEASIBLE, report)
    write_plan(medium, solved, tmp_path / "plan.json")
    assert same(read_plan(tmp_path / "plan.json", medium), plan)
    content = json.loads((tmp_path / "plan.json").read_text())
    assert content["format"] == "capacity-plan/1"
    assert (content["objective"], content["bound"], content["status"]) == (7, 9.5, "FEASIBLE")


def test_a_plan_names_known_requests_once(medium: Problem) -> None:
    line = {"request": "r0", "option": 0, "start": 0}
    for lines, message in (([line, line], "twice"), ([line | {"request": "x"}], "no request"), (["x"], "no request")):
        with pytest.raises(PlanFileError, match=message):
            plan_from({"placements": lines}, medium)
