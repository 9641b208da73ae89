"""A real store for whoever asks for one, and waiting without sleeping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

import pytest

from broker.ledger.redis.embedded import EmbeddedStore

T = TypeVar("T")


class Eventually(Protocol):
    """Polls until ``predicate`` gives something true, and returns it; fails after ``within`` seconds."""

    async def __call__(self, predicate: Callable[[], T | Awaitable[T]], *, within: float = 5.0) -> T: ...


async def _eventually(predicate: Callable[[], T | Awaitable[T]], *, within: float = 5.0) -> T:
    found: T | None = None
    try:
        async with asyncio.timeout(within):
            while not found:
                answer = predicate()
                found = await answer if inspect.isawaitable(answer) else answer
                if not found:
                    await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"not within {within} s: {inspect.getsource(predicate).strip()}")
    return found


@pytest.fixture
def eventually() -> Eventually:
    """Wait for something to become true."""
    return _eventually


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that lasts as long as the tests; take a market of your own on it."""
    with EmbeddedStore.start(tmp_path_factory.mktemp("store")) as store:
        yield store.url
