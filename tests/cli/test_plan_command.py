"""``broker plan`` on a terminal: it shows how it goes, and Ctrl-C ends it with the best plan so far."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from broker.optimiser.check import check
from broker.optimiser.files import problem_from, read_plan, write_problem

DEADLINE_SECONDS = 60.0
PROGRESS = re.compile(rb"gap [\d.]+ %")


def read_until(terminal: int, pattern: re.Pattern[bytes]) -> bytes:
    """What a terminal shows, as soon as the pattern is in it."""
    deadline, shown = time.monotonic() + DEADLINE_SECONDS, b""
    while not pattern.search(shown):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, shown
        shown += os.read(terminal, 4096)
    return shown


def crowded(claims: int = 60) -> dict[str, object]:
    """A market that nobody proves best in a moment: gangs of many sizes in two pools."""
    return {
        "format": "capacity-plan-problem/1",
        "slots": 48,
        "pools": [{"id": pool, "capacity": [[0, 64]], "committed": [[0, 0]]} for pool in ("a", "b")],
        "requests": [
            {
                "id": f"r{n}",
                "options": [
                    {
                        "pool": pool,
                        "devices": 3 + (n * 7 + k) % 29,
                        "slots": 5 + n * 5 % 17,
                        "start": [n % 11, 24 + n % 7],
                        "value": 1_000 + 37 * n % 911,
                    }
                    for k, pool in enumerate(("a", "b"))
                ],
            }
            for n in range(claims)
        ],
    }


def test_ctrl_c_keeps_the_best_plan(tmp_path: Path) -> None:
    problem = problem_from(crowded())
    write_problem(problem, tmp_path / "problem.json")
    command = [sys.executable, "-m", "broker", "plan", "problem.json", "--out", "plan.json", "--seconds", "600"]
    terminal, theirs = pty.openpty()
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        try:
            read_until(terminal, PROGRESS)
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=DEADLINE_SECONDS)
        finally:
            process.kill()
            os.close(terminal)
    assert process.returncode == 0
    assert "placed" in told
    assert check(problem, read_plan(tmp_path / "plan.json", problem)).ok
