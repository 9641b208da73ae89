"""Strict readers of single JSON fields; every fault is a ``ProblemFileError`` that names the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from broker.optimiser.problem import Ints, levels

__all__ = [
    "LARGEST",
    "ProblemFileError",
    "column",
    "fault",
    "ids",
    "integer",
    "is_pair",
    "obj",
    "objects",
    "steps",
    "table",
]

LARGEST = 2**53 - 1  # beyond it JSON readers disagree about integers


class ProblemFileError(ValueError):
    """The problem file breaks the format; the message names the field."""


def fault(value: object, low: int, high: int) -> str:
    """Why ``value`` is no integer from ``low`` to ``high``."""
    if value is None:
        return "missing"
    if type(value) is not int:
        return f"{value!r:.80} is not an integer"
    return f"{value!r:.80} is below {low}" if value < low else f"{value!r:.80} is above {high}"


def integer(
    row: dict[str, Any], field: str, at: str, *, low: int = -LARGEST, high: int = LARGEST, default: int | None = None
) -> int:
    """An integer field within bounds; a missing one is its default, if it has one."""
    value = row.get(field, default)
    if type(value) is not int or not low <= value <= high:
        raise ProblemFileError(f"{at}{'.' if at else ''}{field}: {fault(value, low, high)}")
    return value


def obj(value: object, at: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ProblemFileError(f"{at}: {value!r:.80} is not an object")
    return value


def objects(row: dict[str, Any], field: str, *, default: list[Any] | None = None) -> list[dict[str, Any]]:
    """A list of JSON objects."""
    values = row.get(field, default)
    if not isinstance(values, list):
        raise ProblemFileError(f"{field}: {values!r:.80} is not a list")
    return [obj(value, f"{field}[{n}]") for n, value in enumerate(values)]


def ids(rows: Sequence[dict[str, Any]], field: str) -> tuple[str, ...]:
    """The ids of a list of objects: strings, each once."""
    seen: set[str] = set()
    for n, row in enumerate(rows):
        name = row.get("id")
        if not isinstance(name, str):
            raise ProblemFileError(f"{field}[{n}].id: {name!r:.80} is not a string")
        if name in seen:
            raise ProblemFileError(f"{field}[{n}].id: {name!r:.80} repeats")
        seen.add(name)
    return tuple(row["id"] for row in rows)


def is_pair(value: object) -> TypeGuard[list[Any]]:
    """A list of two."""
    return isinstance(value, list) and len(value) == 2


def steps(row: dict[str, Any], field: str, at: str, slots: int) -> Ints:
    """One level per slot from a step list that starts at slot 0 and rises in slot."""
    pairs = row.get(field)
    if not isinstance(pairs, list) or not pairs:
        raise ProblemFileError(f"{at}.{field}: {pairs!r:.80} is not a step list")
    before = -1
    for n, pair in enumerate(pairs):
        if not is_pair(pair) or any(type(x) is not int or not 0 <= x <= LARGEST for x in pair):
            raise ProblemFileError(f"{at}.{field}[{n}]: {pair!r:.80} is not [slot, level]")
        if (n == 0) != (pair[0] == 0) or pair[0] <= before:
            raise ProblemFileError(f"{at}.{field}[{n}]: slots start at 0 and rise, this one is {pair[0]}")
        before = pair[0]
    return levels([(pair[0], pair[1]) for pair in pairs], slots)


def column(values: Sequence[int]) -> Ints:
    """One column."""
    return np.array(values, dtype=np.int64)


def table(rows: Sequence[Ints], slots: int) -> Ints:
    """Rows of levels as one table, also when there are none."""
    return np.stack(rows) if rows else np.zeros((0, slots), np.int64)
