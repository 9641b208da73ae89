"""Following claims: every change once and in order, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import grpc

from capacitybroker._errors import BrokerError, Unavailable, error_of
from capacitybroker._retry import Patience
from capacitybroker.v1.capacity_service_pb2 import WatchClaimsResponse
from capacitybroker.v1.claim_pb2 import Claim

__all__ = ["Watch"]


class Stream(Protocol):
    """A streaming call that is under way."""

    def __iter__(self) -> Iterator[WatchClaimsResponse]: ...

    def cancel(self) -> object:
        """End it; its iterator then raises."""


class Watch:
    """An endless iterator of revisions; each comes whole, with all the claims that it changed.

    It connects again from the last whole revision when the connection is lost, when the server drains, or when the
    server gave up on a reader that was too slow; it raises the typed error when none of that helps for
    ``give_up_seconds``, or when the broker refuses. `Compacted` means: list again, then watch from there.
    """

    def __init__(
        self,
        open_stream: Callable[[int], Stream],
        patience: Patience,
        *,
        start_revision: int,
        progress: bool,
        give_up_seconds: float,
    ) -> None:
        self._open = open_stream
        self._patience = patience
        self._next_revision = start_revision
        self._progress = progress
        self._give_up_seconds = give_up_seconds
        self._stream: Stream | None = None
        self._closed = False

    @property
    def next_revision(self) -> int:
        """Where another watch would have to start to continue this one."""
        return self._next_revision

    def close(self) -> None:
        """End the watch, from any thread; the iterator then ends."""
        self._closed = True
        if self._stream is not None:
            self._stream.cancel()

    def __iter__(self) -> Iterator[WatchClaimsResponse]:
        """Revisions from `next_revision` on."""
        time = self._patience.time
        failures, silent_since = 0, time.monotonic()
        while not self._closed:
            try:
                for change in self._whole_revisions():
                    failures = 0
                    yield change
                    silent_since = time.monotonic()
                error: BrokerError = Unavailable("the broker ended the watch")
            except grpc.RpcError as raised:
                error = error_of(raised, address=self._patience.address)
                if self._closed:
                    return
                if not isinstance(error, Unavailable) and error.reason != "WATCH_TOO_SLOW":
                    raise error from None
            if failures == 0:
                silent_since = time.monotonic()
            failures += 1
            pause = self._patience.delay(failures, error)
            if time.monotonic() + pause - silent_since > self._give_up_seconds:
                raise error from None
            time.sleep(pause)

    def _whole_revisions(self) -> Iterator[WatchClaimsResponse]:
        """The revisions of one connection; a revision that did not come whole is asked for again by the next."""
        parts: list[Claim] = []
        self._stream = self._open(self._next_revision)
        try:
            if self._closed:
                return
            for message in self._stream:
                if message.revision < self._next_revision:
                    continue
                parts.extend(message.claims)
                if message.partial:
                    continue
                self._next_revision = message.revision + 1
                if parts or self._progress:
                    yield WatchClaimsResponse(revision=message.revision, claims=parts)
                parts = []
        finally:
            self._stream.cancel()
