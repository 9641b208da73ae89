"""What a seed decides before anything happens: which faults there are and how often, and how the market is set."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from broker.admission.policy import Policy
from broker.domain.slots import SLOT_SECONDS
from broker.leasing import LeaseTerms

__all__ = ["BOUNDARY", "TERMS", "Clock", "Setting", "Trace"]

BOUNDARY = 20_000 * 24 * SLOT_SECONDS + 12 * SLOT_SECONDS  # the first full hour that comes, some noon in 2024
TERMS = LeaseTerms(ttl=8_000, ttl_least=4_000)
POLICY = Policy(gang_percent=60, standard_percent=90, spot_percent=80)
FAULTS = {
    # What a nemesis may do, and how often beside the others.
    "crash_server": 3.0,
    "crash_planner": 2.0,
    "pause": 4.0,
    "partition": 4.0,
    "crash_store": 3.0,
    "hang_store": 2.0,
    "set_clock": 2.0,
    "hurry_clock": 2.0,
    "servers_away": 1.0,
    "leap": 3.0,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that differs from seed to seed; rates are chances, times are seconds."""

    loss: float
    replay: float
    delay: float
    store_loss: float
    store_delay: float
    faults: dict[str, float]
    fault_every: float
    servers: int
    planners: int
    clients: int
    think: float
    seconds: float
    before_boundary: float
    log_events_max: int
    insured: bool
    stale_failover: bool
    forgetful: float  # chance that a holder does not renew in time

    @staticmethod
    def of(rng: random.Random) -> Setting:
        """A setting in which most seeds lack most faults: a storm of everything hides what a few bring about."""
        enabled = {fault: rate for fault, rate in FAULTS.items() if rng.random() < 0.5}
        return Setting(
            loss=rng.choice([0.0, 0.0, 0.02, 0.1, 0.3]),
            replay=rng.choice([0.0, 0.05, 0.2, 0.5]),
            delay=rng.choice([0.001, 0.005, 0.05, 0.2]),
            store_loss=rng.choice([0.0, 0.0, 0.01, 0.05]),
            store_delay=rng.choice([0.0005, 0.002, 0.02]),
            faults=enabled or dict(FAULTS),
            fault_every=rng.choice([2.0, 4.0, 8.0]),
            servers=rng.choice([2, 3]),
            planners=rng.choice([1, 2, 2]),
            clients=20,
            think=rng.choice([2.0, 4.0, 6.0]),
            seconds=rng.choice([20.0, 30.0]),
            before_boundary=rng.uniform(5, 25),
            log_events_max=rng.choice([1_000_000, 1_000_000, 40]),
            insured=rng.random() < 0.15,
            stale_failover=rng.random() < 0.1,
            forgetful=rng.choice([0.0, 0.1, 0.5]),
        )


@dataclass(slots=True)
class Clock:
    """A wall clock that is ``ahead`` of the truth by some seconds and runs ``rate`` times as fast."""

    truth: Callable[[], float]
    ahead: float = 0.0
    rate: float = 1.0

    def millis(self) -> int:
        """Unix milliseconds, as it shows them."""
        return int(1000 * (self.ahead + self.truth() + (self.rate - 1.0) * (self.truth() - BOUNDARY)))

    def seconds(self) -> int:
        """Unix seconds, as it shows them."""
        return self.millis() // 1000


@dataclass(slots=True)
class Trace:
    """All that happened, in order, as a digest; and as text where somebody wants to read it."""

    truth: Callable[[], float]
    keep: int = 0
    lines: list[str] = field(default_factory=list)
    _digest: object = field(default_factory=sha256)

    def say(self, *what: object) -> None:
        """One thing that happened."""
        line = f"{self.truth() - BOUNDARY:+12.6f} {' '.join(map(str, what))}"
        self._digest.update(line.encode())  # type: ignore[attr-defined] # hashlib's type has no name
        if self.keep:
            self.lines.append(line)
            del self.lines[: -self.keep]

    def digest(self) -> str:
        """The same for the same things in the same order."""
        return str(self._digest.hexdigest())  # type: ignore[attr-defined]
