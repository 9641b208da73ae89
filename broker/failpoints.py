"""Places where a developer can have a process die, fail or stall, to see what the others make of it.

``BROKER_FAILPOINTS="after-script-send/submit=kill,before-plan-commit#2=sleep:8"`` arms them: a point, at will the
detail it is reached with and the how-manieth time, and what happens then. Each acts once in a process, and a process
that is started again has none. Where nothing is armed a point is one call that looks at an empty table.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from dataclasses import dataclass

__all__ = ["POINTS", "FailpointRaised", "Failure", "arm", "armed", "parse", "reach", "told"]

log = logging.getLogger(__name__)

POINTS = (
    "before-validate",  # detail: the RPC
    "after-validate",
    "before-recall",  # the look-up of an earlier answer; detail: the RPC
    "after-recall",
    "before-script-send",  # detail: the ledger's verb
    "after-script-send",  # it has left, and no reply has come
    "after-script-reply",  # the effect is there, and nobody was told
    "before-reply",  # detail: the RPC; the answer is known, and has not left
    "before-solver-start",
    "before-solver-result",
    "before-plan-stage",
    "after-plan-stage",
    "before-plan-commit",
    "after-plan-commit",
    "before-lease-reap",
    "after-lease-reap",
)
_FAILURE = re.compile(
    r"(?P<point>[a-z-]+)(/(?P<detail>\w+))?(#(?P<turn>\d+))?=(?P<action>kill|stop|raise|abort|sleep:[\d.]+)"
)


class FailpointRaised(RuntimeError):
    """What ``raise`` raises."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What happens at a point, the ``turn``-th time that it is reached; ``detail`` empty: with any."""

    point: str
    detail: str
    turn: int
    action: str


_armed: dict[str, list[Failure]] = {}
_told: list[str] = []
_turns: dict[Failure, int] = {}


def parse(text: str) -> tuple[Failure, ...]:
    """What a text as in ``BROKER_FAILPOINTS`` says; raises ValueError."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _FAILURE.fullmatch(part)
        if match is None or match["point"] not in POINTS:
            raise ValueError(f"no failpoint: {part}")
        found.append(Failure(match["point"], match["detail"] or "", int(match["turn"] or 1), match["action"]))
    return tuple(found)


def arm(text: str) -> None:
    """Arm what ``text`` says in this process, and nothing else; raises ValueError."""
    _armed.clear()
    _turns.clear()
    _told[:] = [text]
    for failure in parse(text):
        _armed.setdefault(failure.point, []).append(failure)


def armed(point: str) -> bool:
    """Whether anything happens at a point."""
    return point in _armed


def told() -> str:
    """What was armed here, for a child of this process."""
    return "".join(_told)


def reach(point: str, detail: str = "") -> None:
    """Do what is armed at a point; ``sleep`` stalls the whole process, as a pause of the machine would."""
    if not _armed:
        return
    for failure in _armed.get(point, ()):
        if failure.detail in ("", detail):
            _turns[failure] = _turns.get(failure, 0) + 1
            if _turns[failure] == failure.turn:
                _act(failure, detail)


def _act(failure: Failure, detail: str) -> None:
    log.warning("failpoint %s/%s: %s", failure.point, detail, failure.action)
    match failure.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)  # until somebody sends SIGCONT
        case "abort":
            os.abort()
        case "raise":
            raise FailpointRaised(failure.point)
        case sleep:
            time.sleep(float(sleep.removeprefix("sleep:")))
