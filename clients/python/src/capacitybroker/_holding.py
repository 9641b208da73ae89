"""Holding a lease: it is renewed in the background, and whoever holds it knows when to stop."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from google.protobuf.duration_pb2 import Duration

from capacitybroker._errors import Aborted, BrokerError, DeadlineExceeded, ResourceExhausted, Unavailable
from capacitybroker.v1.lease_service_pb2 import Lease

__all__ = ["Holding", "Renewals"]

Renewals = Callable[[Lease, float], Lease]  # renews a lease within so many seconds

PASSING = (Unavailable, DeadlineExceeded, Aborted, ResourceExhausted)
AGAIN_SECONDS_MAX = 1.0  # between two attempts while the broker is away, beyond the delay that it names


class Holding:
    """A lease that keeps itself until it is released or lost; use as a context manager, which releases it.

    The devices may be used while `usable`. That ends by this machine's monotonic clock, counted from when the last
    renewal that was answered was *sent*, and `margin` before the broker thinks so: whatever happens to the network, to
    the broker or to wall clocks, nobody else has the devices by then. `lost` is an event to wait for.
    """

    def __init__(
        self,
        lease: Lease,
        sent: float,
        *,
        renew: Renewals,
        release: Callable[[Lease], object],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.lost = threading.Event()
        self.error: BrokerError | None = None
        self._lease, self._renew, self._release = lease, renew, release
        self._monotonic, self._rng = monotonic, rng
        self._token = lease.token
        self._sent = self._until = 0.0
        self._take(lease, sent)
        self._leave = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="capacitybroker-lease", daemon=True)
        self._keeper.start()

    @property
    def lease(self) -> Lease:
        """The lease as of its last renewal, with its token."""
        return self._lease

    @property
    def seconds_left(self) -> float:
        """How long the devices may still be used if no renewal succeeds any more; 0 when it is over."""
        return 0.0 if self.lost.is_set() else max(0.0, self._until - self._monotonic())

    @property
    def usable(self) -> bool:
        """Whether the devices may be used now."""
        return self.seconds_left > 0

    @property
    def safe_capacity(self) -> Mapping[str, int]:
        """Devices by pool that the tenant may use, all its claims together, even while it is not `usable`."""
        return {safe.pool: safe.devices for safe in self._lease.safe_capacity}

    def release(self) -> None:
        """Give the lease back: stop using the devices first. What is left of the claim is free at once."""
        held = self.usable
        self.close()
        if held:
            self._release(self._lease)

    def close(self) -> None:
        """Stop renewing, and leave the lease to end by itself or to be taken by another holder."""
        self._leave.set()
        self._keeper.join()
        self.lost.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def _take(self, lease: Lease, sent: float) -> None:
        self._lease = lease
        self._lease.token = self._token
        self._sent = sent
        self._until = sent + _seconds(lease.time_left) - _seconds(lease.margin)

    def _keep(self) -> None:
        due = self._sent + _seconds(self._lease.renew_after)
        while not self._leave.wait(max(0.0, min(due, self._until) - self._monotonic())):
            sent = self._monotonic()
            if sent >= self._until:
                self.lost.set()
                return
            try:
                self._take(self._renew(self._lease, self._until - sent), sent)
                due = sent + _seconds(self._lease.renew_after)
            except PASSING as passing:
                # All who hold something were cut off in the same moment: they must not come back in one.
                pause = (passing.retry_after_seconds or 0.0) + self._rng.uniform(0, AGAIN_SECONDS_MAX)
                self.error, due = passing, self._monotonic() + pause
            except BrokerError as refused:
                self.error = refused
                self.lost.set()
                return


def _seconds(span: Duration) -> float:
    return span.seconds + span.nanos / 1e9
