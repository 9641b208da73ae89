"""A copy of a market as a file: one JSON array for each line, and a last line that seals all before it.

Lines: ``market`` comes first, then ``claim`` (only when the log is not whole), ``event``, ``plan``, ``prices``,
``lease``, ``ghost``, ``replay``, and ``end``. It holds the key that lease tokens are made with: whoever can read it can
make them. A name that ends in .gz is compressed.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from broker.domain.faults import Fault, FaultReason

__all__ = ["FORMAT", "Line", "event_text", "read_copy", "write_copy"]

FORMAT = 1

Line = tuple[Any, ...]  # its kind, then what belongs to that


async def write_copy(path: Path, lines: AsyncIterator[Line]) -> str:
    """Write the lines and their seal, all or nothing; returns the seal."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    seal, count = sha256(), 0
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as plain:
            file = cast(BinaryIO, gzip.GzipFile(fileobj=plain, mode="wb", filename="") if _packed(path) else plain)
            async for line in lines:
                text = _text(line)
                seal.update(text)
                count += 1
                file.write(text)
            file.write(_text(("end", count, seal.hexdigest())))
            if file is not plain:
                file.close()
            plain.flush()
            os.fsync(plain.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return seal.hexdigest()


def read_copy(path: Path) -> Iterator[list[Any]]:
    """Each line but the seal; Faults: SAFE_HALT, before the first, when the file is torn or was changed."""
    if not _sealed(path):
        raise Fault(
            FaultReason.SAFE_HALT,
            f"{path.name} is no whole copy of a market: it was cut short or changed, or a later release wrote it",
            remedy="Take another copy",
        )
    with _opened(path) as file:
        for text in file:
            line = orjson.loads(text)
            if line[0] != "end":
                yield line


def _sealed(path: Path) -> bool:
    """Whether the file is as it was written, by a release that is not later than this one."""
    seal, count, before = sha256(), 0, b""
    try:
        with _opened(path) as file:
            for text in file:
                if count == 1 and orjson.loads(before)[1]["format"] > FORMAT:
                    return False
                seal.update(before)
                before, count = text, count + 1
        return bool(before == _text(("end", count - 1, seal.hexdigest())))
    except (ValueError, EOFError, OSError, LookupError, TypeError):
        if not path.exists():
            raise
        return False


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if _packed(path) else path.open("rb"))


def event_text(line: list[Any]) -> bytes:
    """An event of a line, as it is logged."""
    return orjson.dumps(line[1])


def _text(line: Line) -> bytes:
    if line[0] == "event":
        return b'["event",%s]\n' % line[1]
    return orjson.dumps(line) + b"\n"


def _packed(path: Path) -> bool:
    return path.suffix == ".gz"
