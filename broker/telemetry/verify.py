"""Whether the audit files in a folder are what servers wrote: every record, in order, file after file."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import orjson

from broker.telemetry.audit import SUFFIX, file_number
from broker.telemetry.chain import Broken, follow

__all__ = ["Found", "has_record", "verified"]


@dataclass(frozen=True, slots=True)
class Found:
    """One file: its records, the hash of the last, whether its server closed it, and what is wrong, if anything."""

    path: Path
    records: int
    head: str
    closed: bool
    wrong: str = ""


def verified(directory: Path) -> list[Found]:
    """Every file of the folder, by slot and in order."""
    slots: dict[str, list[Path]] = defaultdict(list)
    for path in directory.glob(f"*{SUFFIX}"):
        slots[path.stem.rpartition("-")[0]].append(path)
    found: list[Found] = []
    for slot in sorted(slots):
        before: Found | None = None
        for path in sorted(slots[slot], key=file_number):
            before = _verified(path, before)
            found.append(before)
    return found


def _verified(path: Path, before: Found | None) -> Found:
    whole, _, torn = path.read_bytes().rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    try:
        records, head = follow(lines)
    except Broken as broken:
        return Found(path, broken.number - 1, "", closed=False, wrong=str(broken))
    if not lines:
        return Found(path, 0, head, closed=False, wrong="has no record")
    first, last = (orjson.loads(line.partition(b" ")[2]) for line in (lines[0], lines[-1]))
    wrong = "the last line is torn" if torn else _misplaced(path, first, before)
    return Found(path, records, head, closed=bool(last.get("closed")), wrong=wrong)


def _misplaced(path: Path, first: dict[str, object], before: Found | None) -> str:
    """Why it is not the file that follows the one before; empty when it is."""
    if first.get("opened") != path.name:
        return "does not begin with its own name"
    behind = first.get("behind")
    if behind is None:
        return "" if before is None else f"does not follow {before.path.name}"
    assert isinstance(behind, dict)
    if before is None or before.path.name != behind["file"]:
        return f"{behind['file']} is missing before it"
    if before.head and before.head != behind["head"]:
        return f"{before.path.name} ended otherwise when this began"
    return ""


def has_record(directory: Path, head: str) -> bool:
    """Whether some record of the folder has that hash."""
    start = head.encode()
    for path in directory.glob(f"*{SUFFIX}"):
        with path.open("rb") as lines:
            if any(line.startswith(start + b" ") for line in lines):
                return True
    return False
