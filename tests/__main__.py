"""Runs the tests, those that answer in seconds first: ``python -m tests [pytest options]``."""

from __future__ import annotations

import sys

import pytest

QUICK = ("tidy", "unit", "racks", "admission", "bench", "client", "cli", "transport", "planner")
THOROUGH = ("telemetry", "ledger", "leasing", "optimiser")
ALONE = ("simulator", "e2e", "faults")  # they keep both cores busy, or look at the time
PAIRED = ("-n", "2")
STAGES = ((QUICK, PAIRED), (THOROUGH, PAIRED), (ALONE, ()))


def main() -> int:
    """Exit status of the first set of tests that fails, else 0."""
    for folders, how in STAGES:
        # What takes long there is for `make faults`.
        status = pytest.main([f"tests/{folder}" for folder in folders] + ["-m", "not long", *how] + sys.argv[1:])
        if status != pytest.ExitCode.OK:
            return int(status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
