"""What redis-py and the server say, as faults of ours: nothing of theirs leaves this folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from broker.domain.faults import Fault, FaultReason

__all__ = ["translated"]

log = logging.getLogger(__name__)

_RETRY = "Retry with the same request id"
_COMMANDS = "its commands, FUNCTION LIST and LOAD among them"

# First match wins; the text is the server's error code, which redis-py keeps for some errors and removes for others.
_BY_KIND: tuple[tuple[type[BaseException], str, str], ...] = (
    (exceptions.BusyLoadingError, "the store is loading its data", _RETRY),
    (exceptions.AuthenticationError, "the store refuses the broker's credentials", "Correct the store's URL"),
    (exceptions.NoPermissionError, "the store forbids the broker a command", f"Grant the broker's user {_COMMANDS}"),
    (exceptions.ReadOnlyError, "the store is a read-only replica", f"Point the broker at the primary. {_RETRY}"),
    (exceptions.MaxConnectionsError, "too many calls wait for the store", _RETRY),
    (exceptions.TimeoutError, "the store did not answer in time", _RETRY),
    (exceptions.ConnectionError, "the store cannot be reached", _RETRY),
    (TimeoutError, "the store did not answer in time", _RETRY),
    (OSError, "the store cannot be reached", _RETRY),
)
_BY_CODE: tuple[tuple[str, str, str], ...] = (
    ("MISCONF", "the store cannot write to its disk", "Look at the store's log; make room on its disk"),
    ("BUSY", "the store is busy with a long call", _RETRY),
    ("NOREPLICAS", "the store has too few replicas to accept writes", "Bring its replicas back"),
    ("MASTERDOWN", "the store has lost its primary", _RETRY),
    ("CLUSTERDOWN", "the store's cluster is down", _RETRY),
    ("TRYAGAIN", "the store is moving the market", _RETRY),
    ("MOVED", "the market lives on another node of the cluster", "Point the broker at that node"),
    ("ASK", "the store is moving the market", _RETRY),
)


@contextmanager
def translated() -> Iterator[None]:
    """Turns every error of the store inside into Fault STORE_UNAVAILABLE; the outcome of the call is then unknown.

    Only a store that has no room refuses before it does anything: STORE_FULL.
    """
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise _fault(error) from error


def _fault(error: BaseException) -> Fault:
    if isinstance(error, exceptions.OutOfMemoryError) or str(error).startswith("OOM "):
        log.warning("the store is full: %s", error)
        return Fault(
            FaultReason.STORE_FULL,
            "The store has no room for anything new",
            remedy="Release or cancel what is not needed; the operator raises its maxmemory",
        )
    message, remedy = _told(error)
    log.warning("%s: %s", message, str(error) or type(error).__name__)
    return Fault(FaultReason.STORE_UNAVAILABLE, message, remedy=remedy)


def _told(error: BaseException) -> tuple[str, str]:
    """What a caller may know: what is wrong, and what to do next. Paths, addresses and commands are for the log."""
    code = getattr(error, "status_code", None) or str(error).split(" ", 1)[0]
    for prefix, message, remedy in _BY_CODE:
        if code == prefix:
            return message, remedy
    for kind, message, remedy in _BY_KIND:
        if isinstance(error, kind):
            return message, remedy
    return "the store failed", "Look at the broker's log; if the store's keys were edited, restore it"
