"""Where problems come from: files of the public format, generalised assignment instances, and the generator."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.generator import Synthetic, synthetic
from broker.optimiser.files import problem_from, read_problem
from broker.optimiser.problem import Problem

__all__ = ["BIG", "Source", "absent", "add_sources", "generalised", "offered", "sources"]

BIG = 10_000  # what an item of a generalised assignment instance that is left out costs


@dataclass(frozen=True, slots=True)
class Source:
    """One problem to measure, by name: small enough to send to the process that loads it."""

    of: Path | Synthetic
    is_generalised: bool = False

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.of.name if isinstance(self.of, Path) else str(self.of)

    @property
    def stem(self) -> str:
        """The name as the first part of a file name."""
        return self.name.removesuffix(".gz").removesuffix(".json").replace(":", "-")

    @property
    def is_absent(self) -> bool:
        """Whether it is a file that is not there."""
        return isinstance(self.of, Path) and not self.of.is_file()

    def load(self) -> Problem:
        """The problem itself."""
        if isinstance(self.of, Synthetic):
            return synthetic(self.of)
        return generalised(self.of) if self.is_generalised else read_problem(self.of)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """The arguments that name problems, the same for every command."""
    parser.add_argument("problems", nargs="*", type=Path, help="files of the public format")
    parser.add_argument("--synthetic", nargs="*", type=_named, default=[], metavar="FAMILY:LOAD:SEED[:GANG]")
    parser.add_argument("--generalised", nargs="*", type=Path, default=[], metavar="INSTANCE", help="OR-Library text")


def sources(args: argparse.Namespace) -> list[Source]:
    """What the command line named, in the order of its help."""
    files = [Source(path) for path in args.problems]
    return files + [Source(s) for s in args.synthetic] + [Source(path, True) for path in args.generalised]


def absent(named: Sequence[Source]) -> str:
    """Why nothing can be measured; nothing if all is there."""
    missing = [str(source.of) for source in named if source.is_absent]
    if missing:
        return f"nothing measured: no data at {', '.join(missing)}"
    return "" if named else "nothing measured: no problem given"


def offered(problem: Problem) -> int:
    """The value of serving everybody at his best option."""
    o = problem.options
    some = np.flatnonzero(np.diff(o.first))
    best = np.maximum.reduceat(o.value, o.first[some]) if len(some) else np.zeros(0, np.int64)
    return sum(np.maximum(best, 0).tolist())


def generalised(path: Path) -> Problem:
    """A generalised assignment instance as a problem of one slot; an item is worth ``BIG`` less its cost."""
    numbers = [int(float(word)) for word in path.read_text().split()]
    agents, items = numbers[:2]
    cost = [numbers[2 + i * items : 2 + (i + 1) * items] for i in range(agents)]
    at = 2 + agents * items
    weight = [numbers[at + i * items : at + (i + 1) * items] for i in range(agents)]
    room = numbers[at + agents * items : at + agents * items + agents]
    requests = []
    for j in range(items):
        options = [
            {"pool": str(i), "devices": weight[i][j], "slots": 1, "start": [0, 0], "value": BIG - cost[i][j]}
            for i in range(agents)
            if weight[i][j] <= room[i]
        ]
        requests.append({"id": str(j), "options": options})
    pools = [{"id": str(i), "capacity": [[0, room[i]]]} for i in range(agents)]
    return problem_from({"format": "capacity-plan-problem/1", "slots": 1, "pools": pools, "requests": requests})


def _named(text: str) -> Synthetic:
    try:
        return Synthetic.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
