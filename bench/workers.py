"""What a second server process adds: CreateClaim from callers that cost little, one process and several in turn.

    python -m bench.workers [--workers 2] [--callers 256] [--rounds 5] [--seconds 3]

Callers with stubs, as in `bench.answers`, take the second of two cores for themselves. These write their frames by
hand, so that processor is left for a second server. Each market has its own server processes, over one store that has
every write on disk before it answers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from capacitybroker import Client

from bench.answers import price_market
from bench.flood import OK, in_turn, opened
from bench.overload import CLAIMS_MAX, CONNECTIONS, creating
from bench.served import READY_SECONDS, free_port, small_fleet
from broker.app import open_market, run_server
from broker.desk import DeskTerms
from broker.ledger.redis.embedded import EmbeddedStore
from broker.processes import Children
from broker.settings import ServeSettings


async def measure(addresses: dict[str, str], args: argparse.Namespace) -> None:
    """All in turn, so that a slow minute of the machine is slow for each."""
    rates: dict[str, list[float]] = defaultdict(list)
    worst: dict[str, list[float]] = defaultdict(list)
    call = creating("atlas")
    floods = {name: await opened(address, CONNECTIONS) for name, address in addresses.items()}
    for turn in range(args.rounds + 1):
        for name in addresses:
            said = await in_turn(floods[name], call, f"workers-{turn}", args.callers, args.seconds)
            if turn:  # the first round warms up
                rates[name].append(said.count(OK) / args.seconds)
                worst[name].append(quantiles(said.seconds[OK], n=100)[98])
    first = median(next(iter(rates.values())))
    for name, found in rates.items():
        print(
            f"{name:10} {median(found):6,.0f}/s ({min(found):,.0f} to {max(found):,.0f}), "
            f"p99 {1e3 * median(worst[name]):.0f} ms; {median(found) / first:.2f} of one process"
        )
    for flood in (flood for several in floods.values() for flood in several):
        flood.close()


def main() -> int:
    """Print a line for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--callers", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        data = Path(directory) / "data"
        store = running.enter_context(EmbeddedStore.start(data))
        children = Children()
        running.callback(children.stop)
        addresses: dict[str, str] = {}
        for workers in (1, args.workers):
            name = f"{workers} process" + "es" * (workers > 1)
            addresses[name] = f"127.0.0.1:{running.enter_context(free_port())}"
            terms, market = DeskTerms(claims_max=CLAIMS_MAX), f"market-{workers}"
            settings = ServeSettings(listen=addresses[name], data_dir=data, market=market, desk=terms)
            asyncio.run(open_market(settings, store.url, create=True))
            for number in range(workers):
                children.start(f"{market}-{number}", partial(run_server, settings, store.url))
        children.wait_ready(READY_SECONDS)
        for workers, address in zip((1, args.workers), addresses.values(), strict=True):
            with Client(address) as client:
                client.apply_fleet(small_fleet())
            asyncio.run(price_market(store.url, f"market-{workers}"))
        asyncio.run(measure(addresses, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
