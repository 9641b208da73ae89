"""Random markets of racks: whoever is moved is moved within promises, and whole racks stay free for who comes later."""

from __future__ import annotations

import pytest

from bench import defragment
from bench.defragment import SOLVERS, main, told
from broker.optimiser.defragment import Leeway

REPLAY = "python -m bench.defragment --markets 1 --solver {} --seed {}"


@pytest.mark.parametrize(("solver", "seeds"), [("greedy", (1, 2)), ("search", (1,))])
def test_promises_are_kept_and_there_is_more_room(solver: str, seeds: tuple[int, ...]) -> None:
    sides = [[told(seed, Leeway(moves), SOLVERS[solver], hours=168) for seed in seeds] for moves in (0, 2)]
    for side in sides:
        for seed, one in zip(seeds, side, strict=True):
            assert one.wrong == (), REPLAY.format(solver, seed)
    without, moved = sides
    assert [one.urgent for one in without] == [one.urgent for one in moved], "the same claims come to both"
    assert sum(one.moves for one in without) == 0 < sum(one.moves for one in moved)
    assert all(one.moves <= 2 * one.plans for one in moved)
    assert sum(sum(one.room) for one in moved) > sum(sum(one.room) for one in without)


def test_the_command_says_what_it_saw(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defragment, "ORDERS", 1)
    with pytest.raises(SystemExit) as left:
        main(["--markets", "1", "--states", "1", "--weeks", "1"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "without moves: " in shown
    assert "plans with moves: open room " in shown
    assert "0 rules broken" in shown
