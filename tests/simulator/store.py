"""The store as processes see it: a memory ledger behind connections that are slow, break, or hang.

It writes before it answers, for all commands of a turn at once. So a crash loses only what nobody was told, and whether
a command without an answer had its effect is open: here it either ran, and the answer was lost, or it never ran. A
failover to a replica that lagged behind loses what was acknowledged; whoever knew more must halt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from broker.domain.faults import Fault, FaultReason
from broker.domain.snapshot import Event
from broker.ledger.memory import MemoryLedger
from tests.simulator.network import Network
from tests.simulator.setting import Clock

__all__ = ["STORE", "Remote", "Store", "Witness"]

STORE = "store"
CALL_SECONDS = 1.0
# Redis repeats nothing, but a proxy may: whatever carries a key must bear it.
KEYED = {"submit", "amend", "cancel", "acquire", "release", "expire", "apply_fleet", "ask_plan"}


class Witness(Protocol):
    """Whoever sees what the store does, as it does it."""

    def executed(
        self, caller: str, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any], answer: object, made: Event | None
    ) -> None:
        """A verb was executed for a process: what it returned, or what it raised, and the revision it made."""


@dataclass(frozen=True, slots=True)
class _Command:
    verb: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    seen: int  # by whoever sends it


@dataclass(frozen=True, slots=True)
class _Answer:
    revision: int
    value: object


_LOST = object()


class Store:
    """One ledger and its faults."""

    def __init__(self, network: Network, clock: Clock, *, log_events_max: int, token_key: bytes) -> None:
        self.network, self.clock, self.loop = network, clock, network.loop
        self.up, self.hangs_until = True, 0.0
        self._boot = 0
        self.witness: Witness | None = None
        self._waiting: dict[asyncio.Future[object], None] = {}
        self.token_key, self._log_events_max = token_key, log_events_max
        self.ledger = self._empty()
        self.diverged = False

    def _empty(self) -> MemoryLedger:
        made = MemoryLedger(
            incarnation="sim", monotonic=lambda: self.clock.millis() / 1000, log_events_max=self._log_events_max
        )
        made.token_key = self.token_key
        return made

    def crash(self) -> None:
        """Every connection breaks, whatever was on its way."""
        self.up = False
        self._boot += 1
        for answer in list(self._waiting):
            self.network.later(answer, _LOST)
        self._waiting.clear()

    def restart(self) -> None:
        """It is back, with all that it acknowledged."""
        self.up = True

    def fail_over(self, history: Sequence[Event], revision: int) -> None:
        """A replica takes over that had seen no more than the first ``revision`` revisions."""
        self.crash()
        self.ledger = self._empty()
        for event in history[:revision]:
            self.ledger._record(event)
        self.diverged = True
        self.restart()

    def submit(self, caller: str, command: _Command) -> asyncio.Future[object]:
        """What comes back for a command, if anything does."""
        answer: asyncio.Future[object] = self.loop.create_future()
        if not self.up:
            self.network.later(answer, _LOST)
            return answer
        self._waiting[answer] = None
        arrive = partial(self._arrive, self._boot, caller, command, answer)
        for _ in range(2 if command.verb in KEYED and self.network.repeats_to_store() else 1):
            if self.network.breaks_to_store():
                # The connection broke, before the command arrived or before its answer did.
                self.network.later(answer, _LOST)
                if self.network.rng.random() < 0.5:
                    continue
            self.network.send(caller, STORE, arrive, store=True)
        return answer

    def do(self, verb: str, *args: Any, **kwargs: Any) -> None:
        """Something that was done before anybody came."""
        self._execute("", _Command(verb, args, kwargs, 0))

    def _arrive(self, boot: int, caller: str, command: _Command, answer: asyncio.Future[object]) -> None:
        if boot != self._boot:
            return  # its connection broke
        late = self.hangs_until - self.loop.time()
        if late > 0:
            self.loop.call_later(late, self._arrive, boot, caller, command, answer)
        elif command.seen > self.ledger._market.revision:
            self._reply(caller, answer, None)
        elif command.kwargs.get("wait_millis"):
            self.loop.create_task(self._wait(caller, command, answer))
        else:
            self._reply(caller, answer, self._execute(caller, command))

    def _execute(self, caller: str, command: _Command) -> object:
        """Do it in one step; the fault it raises is an answer too."""
        before = self.ledger._market.revision
        value: object
        try:
            getattr(self.ledger, command.verb)(*command.args, **command.kwargs).send(None)
            raise AssertionError(f"{command.verb} waits for something")
        except StopIteration as done:
            value = done.value
        except Fault as fault:
            value = fault
        made = self.ledger._log[-1] if self.ledger._market.revision > before else None
        if self.witness is not None and not self.diverged:
            self.witness.executed(caller, command.verb, command.args, command.kwargs, value, made)
        return value

    async def _wait(self, caller: str, command: _Command, answer: asyncio.Future[object]) -> None:
        try:
            value: object = await getattr(self.ledger, command.verb)(*command.args, **command.kwargs)
        except Fault as fault:
            value = fault
        self._reply(caller, answer, value)

    def _reply(self, caller: str, answer: asyncio.Future[object], value: object) -> None:
        if answer not in self._waiting:
            return  # its connection is gone
        told = _Answer(self.ledger._market.revision, value)

        def arrive() -> None:
            if answer in self._waiting:
                del self._waiting[answer]
                if not answer.done():
                    answer.set_result(told)

        self.network.send(STORE, caller, arrive, store=True)

    def forget(self, answer: asyncio.Future[object]) -> None:
        """Nobody waits for it any more."""
        self._waiting.pop(answer, None)


class Remote:
    """A process's ledger: every verb goes over the network, and nothing is believed that goes back in time.

    As on Redis a command names the latest revision that its process knows, and a store that has less executes nothing.
    Production code sees a `Ledger`.
    """

    def __init__(self, store: Store, process: str) -> None:
        self._store, self._process = store, process
        self.token_key = store.token_key
        self.seen = 0  # the latest revision that it was told of
        self.halted: Fault | None = None  # why it believes the store no longer, if it does not

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        return partial(self._call, verb)

    async def _call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        if self.halted is not None:
            raise self.halted
        seen, wait = self.seen, kwargs.get("wait_millis", 0) / 1000
        answer = self._store.submit(self._process, _Command(verb, args, kwargs, seen))
        try:
            async with asyncio.timeout(wait + CALL_SECONDS):
                got = await answer
        except TimeoutError:
            raise _away("the store did not answer in time") from None
        finally:
            self._store.forget(answer)
        if not isinstance(got, _Answer):
            raise _away("the store cannot be reached")
        if got.revision < seen:
            self.halted = Fault(FaultReason.SAFE_HALT, "the market has gone back", remedy="Restore the store")
            raise self.halted
        self.seen = max(self.seen, got.revision)
        if isinstance(got.value, Fault):
            raise got.value
        return got.value


def _away(what: str) -> Fault:
    return Fault(FaultReason.STORE_UNAVAILABLE, what, remedy="Retry with the same request id")
