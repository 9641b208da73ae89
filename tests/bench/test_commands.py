from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench import baselines, compare, curves, planning, resume
from bench.sources import Source, generalised, offered
from broker.optimiser.check import check
from broker.optimiser.problem import Plan

INSTANCE = "2 3  1 2 3  4 5 6  2 2 2  1 1 9  4 5"  # two agents, three items, cost, weight, room


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    status: int = module.main()
    return status


@pytest.mark.parametrize("module", [compare, planning, baselines])
def test_without_data_nothing_is_measured_and_that_is_said(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(module, monkeypatch) == 2
    assert capsys.readouterr().out == "nothing measured: no problem given\n"
    absent = tmp_path / "absent.json"
    assert run(module, monkeypatch, str(absent)) == 2
    assert capsys.readouterr().out == f"nothing measured: no data at {absent}\n"


def test_nothing_is_drawn_without_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(curves, monkeypatch, str(tmp_path / "out.svg"), str(tmp_path / "absent.json")) == 2
    assert not (tmp_path / "out.svg").exists()


def test_one_command_compares_and_one_draws(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = ["--synthetic", "XS:1.1:1", "--seconds", "5", "--solvers", "scip", "by-value"]
    assert run(curves, monkeypatch, str(tmp_path / "out.svg"), *runs) == 0
    _, *rows, last = capsys.readouterr().out.splitlines()
    assert [row.split()[:2] for row in rows] == [["XS:1.1:1", "scip"], ["XS:1.1:1", "by-value"]]
    assert last.endswith("1 panels")
    assert "scip, bound" in (tmp_path / "out.svg").read_text()


def test_a_generalised_assignment_instance_is_a_problem_of_one_slot(tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    path.write_text(INSTANCE)
    problem = generalised(path)
    assert offered(problem) == 3 * 10_000 - (1 + 2 + 3)
    everybody = Plan(np.array([0, 0, 0]), np.zeros(3, np.int64))
    assert not check(problem, everybody).ok
    assert check(problem, Plan(np.array([0, 1, -1]), np.zeros(3, np.int64))).objective == 2 * 10_000 - (1 + 5)
    assert Source(path, is_generalised=True).stem == "tiny"


def test_watches_resume_at_every_revision_of_a_short_history(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(resume, monkeypatch, "--history", "128", "--whole", "8", "--told", "5") == 0
    _, line = capsys.readouterr().out.splitlines()
    assert line.startswith("128 resumes: ")
    assert "; 0 faults" in line
