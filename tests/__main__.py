"""Runs the tests, those that answer in seconds first: ``python -m tests [pytest options]``."""

from __future__ import annotations

import sys

import pytest

QUICK = ("tidy", "unit", "racks", "admission", "bench", "client", "cli", "transport", "planner")
THOROUGH = ("telemetry", "ledger", "leasing", "optimiser", "simulator", "e2e", "faults")


def main() -> int:
    """Exit status of the first set of tests that fails, else 0."""
    for folders in (QUICK, THOROUGH):
        # What takes long there is for `make faults`.
        status = pytest.main([f"tests/{folder}" for folder in folders] + ["-m", "not long"] + sys.argv[1:])
        if status != pytest.ExitCode.OK:
            return int(status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
