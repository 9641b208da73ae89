"""Messages between clients, servers, planners and the store: late, lost, repeated, out of order, or cut off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from tests.simulator.loop import VirtualLoop
from tests.simulator.setting import Setting

__all__ = ["Network", "Unreachable"]


class Unreachable(Exception):
    """No answer came: whether there was an effect is unknown."""


class Network:
    """Who reaches whom, and how long that takes. Processes go by what they are: ``server-1``, whoever runs it."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, setting: Setting) -> None:
        self.loop, self.rng, self.setting = loop, rng, setting
        self.cut: set[tuple[str, str]] = set()  # from, to
        self.faulty = True

    def heal(self) -> None:
        """Everybody reaches everybody from now on, soon, once, and in order."""
        self.cut.clear()
        self.faulty = False

    def separate(self, one: str, other: str, *, both_ways: bool) -> list[tuple[str, str]]:
        """Nothing gets from one to the other (and back); what to take out of ``cut`` again."""
        ways = [(one, other), (other, one)] if both_ways else [(one, other)]
        self.cut.update(ways)
        return ways

    def repeats_to_store(self) -> bool:
        """Whether a command arrives twice."""
        return self.faulty and self.rng.random() < self.setting.replay / 4

    def breaks_to_store(self) -> bool:
        """Whether a connection to the store breaks."""
        return self.faulty and self.rng.random() < self.setting.store_loss

    def repeats(self) -> bool:
        """Whether a call arrives twice."""
        return self.faulty and self.rng.random() < self.setting.replay

    def later(self, future: asyncio.Future[object], answer: object) -> None:
        """Let whoever waits know in a moment."""

        def settle() -> None:
            if not future.done():
                future.set_result(answer)

        self.loop.call_later(self.delay(store=True), settle, context=self.loop.nobody)

    def delay(self, *, store: bool = False) -> float:
        """How long a message takes."""
        if not self.faulty:
            return 0.0005 + self.rng.random() / 2000
        mean = self.setting.store_delay if store else self.setting.delay
        return self.rng.expovariate(1 / mean) * (20 if self.rng.random() < 0.01 else 1)

    def send(
        self,
        source: str,
        target: str,
        arrive: Callable[[], None],
        *,
        store: bool = False,
    ) -> None:
        """Let ``arrive`` happen when the message does, if it does; it is no part of any process."""
        lost = self.faulty and not store and self.rng.random() < self.setting.loss
        if lost or (plain(source), plain(target)) in self.cut:
            return
        self.loop.call_later(self.delay(store=store), arrive, context=self.loop.nobody)


def plain(process: str) -> str:
    """``server-1`` of ``server-1#4``, which is its fourth life."""
    return process.partition("#")[0]
