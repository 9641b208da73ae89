"""Readers of watches: they come back from the last revision they had, wherever they are cut, and miss nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from broker.domain.claim import Claim
from broker.domain.faults import Fault, FaultReason, Kind
from broker.domain.snapshot import Event
from broker.feed import Interest
from tests.simulator.network import Network, Unreachable
from tests.simulator.processes import ServerProcess, Stream

__all__ = ["Watcher"]

SILENCE_SECONDS = 3.0
AGAIN = {FaultReason.WATCH_TOO_SLOW}


@dataclass
class Watcher:
    """One reader; ``spells`` are unbroken stretches of the log that it was told, with what it was told of them."""

    name: str
    rng: random.Random
    network: Network
    servers: list[ServerProcess]
    interest: Interest
    slow: bool
    begin: int  # 0: from now on
    spells: list[tuple[int, list[tuple[int, tuple[Claim, ...]]]]] = field(default_factory=list)
    known: int = 0  # revision up to which it was told all
    refusals: list[str] = field(default_factory=list)

    async def live(self) -> None:
        """Watch for ever."""
        following = self.begin
        while True:
            server = self.rng.choice(self.servers)
            stream = Stream(self.network, self.name, following, self.interest)
            self.network.send(self.name, server.name, partial(server.watch, stream))
            try:
                while True:
                    change = await stream.take(SILENCE_SECONDS)
                    if not following or not self.spells:
                        self.spells.append((change.revision + 1, []))
                        following = change.revision + 1
                        self.known = change.revision  # what was before, it would list
                    if change.revision >= following or change.claims:
                        self.spells[-1][1].append((change.revision, change.claims))
                        following = change.revision + 1
                        self.known = change.revision
                    if self.slow and self.network.faulty:
                        await asyncio.sleep(self.rng.uniform(0, 0.6))
            except (TimeoutError, Unreachable):
                pass
            except Fault as fault:
                if fault.reason is FaultReason.COMPACTED:
                    # It would list, and watch from there.
                    following, self.begin = 0, 0
                elif fault.reason not in AGAIN and fault.reason.kind is not Kind.UNAVAILABLE:
                    self.refusals.append(fault.reason.name)
            stream.close()
            await asyncio.sleep(self.rng.uniform(0.01, 0.3))

    def broken(self, log: Sequence[Event]) -> Iterator[str]:
        """What it was told that is not in the log, what it was not told, what it was told twice or too late (I15)."""
        yield from (f"{self.name} was refused: {refusal}" for refusal in self.refusals)
        for first, told in self.spells:
            until = max([revision for revision, _ in told], default=first - 1)
            wanted = [(event.revision, claims) for event in log[first - 1 : until] if (claims := self._of(event))]
            got = [(revision, claims) for revision, claims in told if claims]
            if got != wanted:
                missed = sorted({r for r, _ in wanted} - {r for r, _ in got})
                yield f"{self.name} from {first} to {until} missed {missed}, or was told {[r for r, _ in got]}"

    def _of(self, event: Event) -> tuple[Claim, ...]:
        wanted = self.interest
        return tuple(
            claim
            for claim in event.claims
            if wanted.tenant in (None, claim.name.tenant)
            and (not wanted.states or {claim.state_name, claim.state_name_before} & wanted.states)
        )
