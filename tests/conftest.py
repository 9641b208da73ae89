"""A real store for whoever asks for one, and waiting without sleeping."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

import pytest

from broker.ledger.redis.embedded import EmbeddedStore

T = TypeVar("T")


class Eventually(Protocol):
    """Polls until ``await predicate()`` gives something true, and returns it; fails after ``within`` seconds."""

    async def __call__(self, predicate: Callable[[], Awaitable[T | None]], *, within: float = 30.0) -> T: ...


async def _eventually(predicate: Callable[[], Awaitable[T | None]], *, within: float = 30.0) -> T:
    found: T | None = None
    try:
        async with asyncio.timeout(within):
            while not found:
                found = await predicate()
                if not found:
                    await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"not within {within} s: {predicate}")
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--seed N`` replays a random test, ``--count N`` repeats what is killed under load so many times."""
    parser.addoption("--seed", type=int, default=None, help="seed of the project's own random tests")
    parser.addoption("--count", type=int, default=3, help="how often faults under load are repeated")


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    """How often to repeat a fault under load."""
    return int(request.config.getoption("--count"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of a random test; a failing one prints it, and the command that replays it."""
    given = request.config.getoption("--seed")
    chosen = given if given is not None else random.SystemRandom().randrange(2**32)
    # pytest shows what a failing test printed.
    print(f"replay: .venv/bin/python -m pytest '{request.node.nodeid}' --seed {chosen}")  # noqa: T201
    return int(chosen)
