"""Events that this process wrote itself: its tail of the log meets them again and need not read them from text."""

from __future__ import annotations

from collections import OrderedDict

from broker.domain.claim import Claim
from broker.domain.snapshot import Event, EventKind
from broker.ledger.codec import decode_event

__all__ = ["Written"]

EVENTS_MAX = 1_024  # the tail is rarely more than a few behind


class Written:
    """Turns the texts of events into events; those of `submitted` are known by their text, byte for byte."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Event] = OrderedDict()

    def submitted(self, claim: Claim, body: str, at: int) -> None:
        """A claim was stored as ``body`` by its revision, ``at`` (Unix s), and nothing else was changed by it."""
        revision = claim.revision
        # What `market.record` in lua/market.lua puts together; a text that differs is read like anybody's.
        text = f'{{"v":1,"revision":{revision},"kind":"SUBMITTED","at":{at},"claims":[{body}]}}'
        self._known[text.encode()] = Event(revision, EventKind.SUBMITTED, at, (claim,))
        if len(self._known) > EVENTS_MAX:
            self._known.popitem(last=False)

    def event(self, text: bytes) -> Event:
        """The event that ``text`` describes; Faults: SAFE_HALT when it cannot be read."""
        return self._known.pop(text, None) or decode_event(text)
