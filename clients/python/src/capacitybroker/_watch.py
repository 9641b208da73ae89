"""Following claims: every change once and in order, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc

from capacitybroker._errors import BrokerError, Unavailable, error_of, overloaded, passing
from capacitybroker._retry import Patience
from capacitybroker._silence import Attended, Silence, Stream
from capacitybroker.v1.capacity_service_pb2 import WatchClaimsResponse
from capacitybroker.v1.claim_pb2 import Claim

__all__ = ["Watch"]


class Watch:
    """An endless iterator of revisions; each comes whole, with all the claims that it changed.

    It connects again from the last whole revision when the connection is lost, when nothing at all arrived for
    ``silence_seconds``, when the server drains or has too much to do, or when it gave up on a slow reader. It
    raises the typed error when none of that brings a message for ``give_up_seconds``, or when the broker refuses.
    `Compacted` means: list again, then watch from there.
    """

    def __init__(
        self,
        open_stream: Callable[[int], Stream],
        patience: Patience,
        *,
        start_revision: int,
        progress: bool,
        give_up_seconds: float,
        silence_seconds: float,
    ) -> None:
        self._open = open_stream
        self._patience = patience
        self._next_revision = start_revision
        self._progress = progress
        self._give_up_seconds = give_up_seconds
        self._silence_seconds = silence_seconds
        self._stream: Stream | None = None
        self._heard = False
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
        failures, lost_since = 0, time.monotonic()
        while not self._closed:
            self._heard = False
            try:
                yield from self._whole_revisions()
                error: BrokerError = Unavailable("the broker ended the watch")
            except grpc.RpcError as raised:
                error = error_of(raised, address=self._patience.address)
                lasting = not (passing(error) or overloaded(error) or error.reason == "WATCH_TOO_SLOW")
                if lasting and not self._closed:
                    raise error from None
            except Silence:
                error = Unavailable(f"nothing came from the broker for {self._silence_seconds:g} s")
            if self._closed:
                return
            if self._heard:
                failures, lost_since = 0, time.monotonic()
            failures += 1
            pause = self._patience.delay(failures, error)
            if time.monotonic() + pause - lost_since > self._give_up_seconds:
                raise error from None
            time.sleep(pause)

    def _whole_revisions(self) -> Iterator[WatchClaimsResponse]:
        """The revisions of one connection; a revision that did not come whole is asked for again by the next."""
        parts: list[Claim] = []
        self._stream = self._open(self._next_revision)
        with Attended(self._stream, self._silence_seconds, self._patience.time.monotonic) as messages:
            if self._closed:
                return
            for message in messages:
                self._heard = True
                if message.revision < self._next_revision:
                    continue
                parts.extend(message.claims)
                if message.partial:
                    continue
                self._next_revision = message.revision + 1
                if parts or self._progress:
                    yield WatchClaimsResponse(revision=message.revision, claims=parts)
                parts = []
