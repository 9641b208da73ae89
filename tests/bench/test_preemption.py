"""Random markets in which spot work gives way: bounded, at rest, and as promised; the bench tells more of them."""

from __future__ import annotations

import pytest

from bench.preemption import SOLVERS, main, tale
from broker.domain.preemption import PREEMPTIONS_MAX

REPLAY = "python -m bench.preemption --cases 1 --solver {} --seed {}"


@pytest.mark.parametrize(("solver", "cases"), [("greedy", 100), ("cruel", 100), ("search", 8)])
def test_nobody_is_told_too_often_and_planning_comes_to_rest(solver: str, cases: int) -> None:
    told = 0
    for seed in range(cases):
        one = tale(seed, SOLVERS[solver], again=solver != "cruel")
        assert one.wrong == (), REPLAY.format(solver, seed)
        assert one.told_most <= PREEMPTIONS_MAX
        told += one.told
    assert told > cases // 4, "the cases are about something"


def test_the_command_says_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--cases", "2"])
    assert left.value.code == 0
    assert "0 failed" in capsys.readouterr().out
