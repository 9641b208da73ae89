"""A real broker, processes and all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from capacitybroker import Client

from broker.cli.local_server import LocalServer, local_server
from tests.e2e.test_conservation import small_fleet


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """One broker with the small fleet, for tests that do no harm."""
    with local_server(tmp_path_factory.mktemp("broker"), horizon_slots=14 * 24) as server:
        with Client(server.address, timeout=60) as operator:
            operator.apply_fleet(small_fleet())
        yield server
