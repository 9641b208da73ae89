"""Runs seeds: ``python -m tests.simulator --seed 7 --trace`` or ``--first 0 --count 300 --jobs 2``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial

from tests.simulator.many import failures, replay_command
from tests.simulator.run import simulate

__all__ = ["main"]


say = partial(print, flush=True)


def main() -> int:
    """1 when any promise was broken."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulator", *sys.argv[1:]],
                  os.environ | {"PYTHONHASHSEED": "0"})  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed; prints what broke and the end of its trace")
    parser.add_argument("--lines", type=int, default=60, help="of the trace")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    began = time.monotonic()
    if asked.seed is not None:
        outcome = simulate(asked.seed, keep=asked.lines)
        say(*outcome.trace, sep="\n")
        say(*(f"BROKEN {broken}" for broken in outcome.broken), sep="\n")
        say(f"seed {asked.seed}: {outcome.revisions} revisions, {outcome.steps} steps, trace {outcome.digest[:16]}, "
              f"{time.monotonic() - began:.1f} s")  # fmt: skip
        return bool(outcome.broken)
    failed = 0
    for outcome in failures(range(asked.first, asked.first + asked.count), jobs=asked.jobs):
        failed += 1
        say(f"seed {outcome.seed}: {outcome.broken[0]}", f"  {replay_command(outcome.seed)}", sep="\n")
    say(f"{asked.count} seeds, {failed} broke a promise, {time.monotonic() - began:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
