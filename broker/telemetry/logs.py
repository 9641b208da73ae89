"""How processes log: a line for each record, as text or as JSON, that no caller can forge and that holds no secret."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

import orjson

__all__ = ["LogFormat", "log_to_stderr", "scrubbed"]

LogFormat = Literal["text", "json"]

# A lease's token: the revision that made it stays, what proves it does not. And passwords in addresses of stores.
TOKEN = re.compile(r"(?<![0-9a-z.])([0-9]{1,18})\.[0-9a-f]{32}(?![0-9a-z])")
PASSWORD = re.compile(r"(\b[a-z]+://[^\s:/@]*:)[^\s@/]+@")
# What ends a line or moves a terminal, but for the line ends that a traceback is made of.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def scrubbed(text: str) -> str:
    """The text without tokens and passwords."""
    return PASSWORD.sub(r"\1[secret]@", TOKEN.sub(r"\1.[secret]", text))


def log_to_stderr(process: str, form: LogFormat) -> None:
    """Have this process log to its error stream; logging never raises, whatever becomes of the stream."""
    logging.raiseExceptions = False
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_Json(process) if form == "json" else _Text(process))
    logging.basicConfig(level=logging.INFO, handlers=[stream])


class _Text(logging.Formatter):
    """One line a record, and a traceback behind it, indented, so that no line of it looks like a record."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s {process}[%(process)d] %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        text = scrubbed(super().format(record))
        return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text).replace("\n", "\n  ")


class _Json(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": scrubbed(record.getMessage()),
        }
        if record.exc_info:
            told["exception"] = scrubbed(self.formatException(record.exc_info))
        for name in ("method", "reason", "head"):
            if (value := getattr(record, name, None)) is not None:
                told[name] = scrubbed(str(value))
        return orjson.dumps(told, default=str).decode()
