"""Every fault that a test injects, with what is expected then; ``python -m tests.faults.catalogue`` writes the table.

The table in docs/reliability.md is made from what the tests say of themselves, so it names no test that is not there.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["FAULTS", "Entry", "fault", "table"]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"

_Test = TypeVar("_Test", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault as one test injects it."""

    id: str
    injected: str
    expected: str
    test: str  # as pytest takes it


FAULTS: dict[str, Entry] = {}


def fault(id: str, *, injected: str, expected: str) -> Callable[[_Test], _Test]:  # noqa: A002 - the field's own name
    """Mark a test as the one for fault ``id``; a test may carry several."""

    def registered(test: _Test) -> _Test:
        file = Path(test.__code__.co_filename).name
        FAULTS[f"{id} {test.__name__}"] = Entry(id, injected, expected, f"tests/faults/{file}::{test.__name__}")
        return test

    return registered


def table() -> str:
    """All entries as a Markdown table, in order of fault."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.faults.{path.stem}")
    lines = ["| fault | injected | expected | test |", "|---|---|---|---|"]
    for entry in sorted(FAULTS.values(), key=_order):
        file, _, name = entry.test.rpartition("::")
        lines.append(f"| {entry.id} | {entry.injected} | {entry.expected} | `{Path(file).name}::{name}` |")
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with today's table between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def _order(entry: Entry) -> tuple[int, str, str]:
    number = re.search(r"\d+", entry.id)
    return (int(number[0]) if number else 0, entry.id, entry.test)


if __name__ == "__main__":
    # The tests register with the module of this name, not with the one that is run.
    from tests.faults import catalogue

    PAGE.write_text(catalogue.written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
