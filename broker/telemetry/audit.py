"""The record of who changed what and who was refused: one chained file for each start of a server."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from broker.telemetry.chain import START, link

__all__ = ["Audit", "file_number"]

log = logging.getLogger(__name__)

TEXT_MAX = 300  # characters of what a caller named
FILE_BYTES_MAX = 64 << 20
SUFFIX = ".audit"


class Audit:
    """Writes each record before its call is answered; a disk that takes none costs records, never answers.

    Files are ``SLOT-NUMBER.audit``: each begins with the name and the last hash of the slot's file before. Records hold
    who, method, target, request id, outcome, revision and peer; never what a request says beside, nor a token.
    """

    def __init__(self, directory: Path, slot: str, now_millis: Callable[[], int]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.records = self.lost = 0
        self._directory, self._slot, self._now = directory, slot, now_millis
        self._shed: Counter[tuple[str, str]] = Counter()
        self._told_lost = 0
        self._dirty = False
        self._file, self._size, self._head = -1, 0, START
        self._open()

    @property
    def head(self) -> str:
        """Hash of the last record: kept elsewhere, it shows whether the end of the file was cut off."""
        return self._head

    def record(
        self, who: str, method: str, target: str, request_id: str, outcome: str, revision: int, peer: str
    ) -> None:
        """One change, or one refusal."""
        told = {"at": self._now(), "who": who[:TEXT_MAX], "method": method, "target": target[:TEXT_MAX]}
        if request_id:
            told["request"] = request_id[:TEXT_MAX]
        told["outcome"] = outcome
        if revision:
            told["revision"] = revision
        told["peer"] = peer
        self._write(told)

    def shed(self, who: str, method: str) -> None:
        """One more that was refused because there were too many; told in sums, or they would fill the disk."""
        self._shed[who[:TEXT_MAX], method] += 1

    def tick(self) -> None:
        """Write the sums; call it about every second."""
        self._write_sums()
        if self._size >= FILE_BYTES_MAX:
            self.close()
            self._open()

    def sync(self) -> None:
        """Have the disk hold what was written; may take a while, so not on the thread that answers."""
        if self._dirty:
            self._dirty = False
            os.fdatasync(self._file)

    def close(self) -> None:
        """Say that this is the end of the file."""
        self._write_sums()
        self._write({"at": self._now(), "closed": True})
        self.sync()
        os.close(self._file)

    def _write_sums(self) -> None:
        for (who, method), count in self._shed.items():
            self._write({"at": self._now(), "who": who, "method": method, "outcome": "OVERLOADED", "count": count})
        self._shed.clear()

    def _open(self) -> None:
        """A new file behind the last one of this slot."""
        files = sorted(self._directory.glob(f"{self._slot}-*{SUFFIX}"), key=file_number)
        before = files[-1] if files else None
        number = file_number(before) + 1 if before is not None else 1
        path = self._directory / f"{self._slot}-{number:06}{SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._size, self._head = 0, START
        behind = {"file": before.name, "head": _last_hash(before)} if before is not None else None
        self._write({"at": self._now(), "opened": path.name, "pid": os.getpid(), "behind": behind})

    def _write(self, told: dict[str, Any]) -> None:
        if self.lost != self._told_lost:
            told["lost_before"] = self.lost - self._told_lost
        text = orjson.dumps(told)
        head = link(self._head, text)
        line = b"%b %b\n" % (head.encode(), text)
        try:
            written = os.write(self._file, line)
            if written != len(line):  # the disk is full: take back the half line
                os.ftruncate(self._file, self._size)
                raise OSError("the line did not fit")  # noqa: TRY301 - as a write that fails at once
        except OSError as error:
            if self.lost == self._told_lost:
                log.error("the audit file takes no records: %s", error)  # noqa: TRY400 - a full disk is no bug
            self.lost += 1
            return
        self._head, self._told_lost = head, self.lost
        self._size += len(line)
        self.records += 1
        self._dirty = True


def file_number(path: Path) -> int:
    """Which of its slot's files it is."""
    return int(path.stem.rpartition("-")[2])


def _last_hash(path: Path) -> str:
    """Of the last whole line; START without one."""
    last = START
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                last = line[:64].decode("ascii", "replace")
    return last
