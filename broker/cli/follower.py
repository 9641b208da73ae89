"""Follows all claims in the background, for whoever has to know what became of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from capacitybroker import BrokerError, Claim, Client

__all__ = ["Follower"]


class Follower:
    """Keeps the last state of every claim, and shows each change to ``on_change``, in order, in a thread of its own."""

    def __init__(self, address: str, on_change: Callable[[Claim], None]) -> None:
        self.claims: dict[str, Claim] = {}
        self._on_change = on_change
        self._revision = 0
        self._error: BrokerError | None = None
        self._news = threading.Condition()
        self._client = Client(address)
        self._watch = self._client.watch_claims(tenant="-", progress=True)
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watch.close()
        self._thread.join(10)
        self._client.close()

    def wait_for(self, revision: int, *, seconds: float) -> None:
        """Returns once everything up to ``revision`` has been seen; raises the watch's error, or TimeoutError."""
        with self._news:
            seen = self._news.wait_for(lambda: self._error is not None or self._revision >= revision, seconds)
        if self._error is not None:
            raise self._error
        if not seen:
            raise TimeoutError(f"revision {revision} was not seen within {seconds:.0f} s")

    def _follow(self) -> None:
        try:
            for change in self._watch:
                for claim in change.claims:
                    self.claims[claim.name] = claim
                    self._on_change(claim)
                with self._news:
                    self._revision = change.revision
                    self._news.notify_all()
        except BrokerError as error:
            with self._news:
                self._error = error
                self._news.notify_all()
