"""A small made-up trace through a real broker in virtual time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from broker.cli.expected import inside_of_all
from broker.cli.replay import Window, run
from broker.cli.replay_outcome import captured_is_sound, verified
from broker.cli.trace import read_jobs
from tests.cli.trace_lists import random_jobs, write_lists


def test_every_claim_is_answered_and_every_promise_kept(tmp_path: Path) -> None:
    lists = write_lists(tmp_path / "lists", random_jobs(3, per_cluster=5, hours=36))
    jobs = read_jobs(lists, from_day=0, days=2)
    window = Window(from_day=0, days=2, load=1.2, every=6, seed=0)
    replayed = run(jobs, window, out=tmp_path / "out", plan_seconds=0.3)
    assert replayed.good
    assert replayed.broken == ()
    assert replayed.answered == replayed.submitted == len(jobs) > 20
    assert replayed.plans > 1
    inside, starts = inside_of_all(replayed.calibrations)
    assert 0 < inside <= starts
    assert all(file.exists() for file in replayed.files)
    plan = json.loads((tmp_path / "out/outcome.plan.json").read_text())
    assert 0 < plan["objective"] <= plan["bound"]


def test_a_plan_that_lies_is_found_out(tmp_path: Path) -> None:
    problem = {
        "format": "capacity-plan-problem/1",
        "slots": 4,
        "slot_hours": 1,
        "pools": [{"id": "a", "capacity": [[0, 1]]}],
        "quotas": [],
        "requests": [
            {"id": f"r{n}", "options": [{"pool": "a", "devices": 1, "slots": 2, "start": [0, 2], "value": 5}]}
            for n in range(2)
        ],
    }
    (tmp_path / "problem.json").write_text(json.dumps(problem))

    def plan(objective: int, *starts: int) -> Path:
        placements = [{"request": f"r{n}", "option": 0, "start": start} for n, start in enumerate(starts)]
        document = {"format": "capacity-plan/1", "placements": placements, "objective": objective, "bound": 10}
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(document | {"seconds": 0.1, "status": "FEASIBLE"}))
        return file

    assert verified(tmp_path / "problem.json", plan(10, 0, 2)) == ()
    assert "2 devices used" in verified(tmp_path / "problem.json", plan(10, 0, 1))[0]
    assert "claims 11, it is worth 10" in verified(tmp_path / "problem.json", plan(11, 0, 2))[0]
    assert captured_is_sound(tmp_path, objective=7, keep_as=tmp_path / "kept") is None


def test_a_trace_that_is_absent_is_said_plainly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "broker", "replay", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("broker: no job list of cluster 01")
    assert "Traceback" not in done.stderr
