"""All rows of bad input, and the page that tells them: ``python -m tests.faults.bad_input`` writes it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tests.faults import rows_calls, rows_claims, rows_transport, rows_wire
from tests.faults.target import Row

__all__ = ["PAGE", "ROWS", "written"]

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
BEGIN, END = "<!-- rows: begin -->", "<!-- rows: end -->"
CODES = {
    -2: "connection closed",
    -1: "stream reset",
    0: "OK",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
}


def _order(row: Row) -> int:
    return int(row.id[1:])


ROWS = sorted((*rows_claims.ROWS, *rows_wire.ROWS, *rows_calls.ROWS, *rows_transport.ROWS), key=_order)


def table() -> str:
    """Each number of the catalogue once for each answer that it gets, as Markdown."""
    lines = ["| row | sent | code | reason |", "|---|---|---|---|"]
    for (row, code, reason), alike in groupby(ROWS, key=lambda row: (row.id, CODES[row.code], row.reason)):
        sent = "; ".join(dict.fromkeys(one.what.partition(": ")[0].replace("|", "\\|") for one in alike))
        lines.append(f"| {row} | {sent} | {code} | {reason or '-'} |")
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with today's table between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
