from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from bench.generator import FAMILIES, Synthetic, synthetic
from broker.optimiser.problem import Problem

# Of the problems that the published recipe makes, read as a file of the public format.
DIGESTS = {
    "XS:1.1:1": "fb06fb8932fd7a7a",
    "XS:0.7:2:64": "1130e44d4b646cdc",
    "S:1.1:1": "88cace35b1d02448",
    "S:1.5:2:100": "7bbb0f1ab625ce8f",
}


def digest(value: object) -> str:
    """One number for every column and every name of a problem."""
    found = hashlib.sha256()

    def add(part: object) -> None:
        if is_dataclass(part):
            for field in fields(part):
                add(getattr(part, field.name))
        else:
            found.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())

    add(value)
    return found.hexdigest()[:16]


@pytest.fixture(scope="module")
def small() -> Problem:
    return synthetic(Synthetic("S", 1.1, 1))


@pytest.mark.parametrize("name", DIGESTS)
def test_a_name_is_the_same_problem_everywhere(name: str) -> None:
    assert digest(synthetic(Synthetic.parse(name))) == DIGESTS[name]


def test_another_seed_load_or_largest_gang_is_another_problem() -> None:
    names = ("XS:1.1:1", "XS:1.1:2", "XS:0.7:1", "XS:1.1:1:64")
    assert len({digest(synthetic(Synthetic.parse(name))) for name in names}) == len(names)


@pytest.mark.parametrize("load", [0.7, 1.1, 1.5])
def test_the_load_is_what_was_asked_for(load: float) -> None:
    problem = synthetic(Synthetic("M", load, 3, 256))  # a larger gang may fit nowhere, and then asks for nothing
    o = problem.options
    quickest = np.minimum.reduceat(o.devices * o.slots, o.first[:-1][np.diff(o.first) > 0])
    assert quickest.sum() / problem.pools.capacity.sum() == pytest.approx(load, rel=0.1)


def test_every_option_fits_the_horizon_and_its_pool(small: Problem) -> None:
    o = small.options
    assert (o.earliest >= 0).all()
    assert (o.earliest <= o.latest).all()
    assert (o.latest + o.slots <= small.slots).all()
    assert ((o.earliest <= o.due) & (o.due <= o.latest)).all()
    assert (o.devices <= small.pools.capacity.max(axis=1)[o.pool]).all()
    assert (o.value > 0).all()


def test_options_of_a_request_name_different_pools_in_order(small: Problem) -> None:
    o = small.options
    same = np.repeat(np.arange(len(small.requests.ids)), np.diff(o.first))
    assert (np.diff(o.pool)[np.diff(same) == 0] > 0).all()


def test_contracts_are_paid_to_three_quarters(small: Problem) -> None:
    pools = small.pools
    contract = pools.overage_cost > 0
    assert contract.any()
    assert not contract.all()
    assert (pools.committed[contract] == pools.capacity[contract] * 3 // 4).all()
    assert (pools.committed[~contract] == pools.capacity[~contract]).all()


def test_the_largest_gang_is_a_limit() -> None:
    problem = synthetic(Synthetic("M", 1.1, 1, 256))
    assert problem.options.devices.max() <= 4 * 72  # whole racks of 72


def test_families_have_the_sizes_that_they_are_known_by(small: Problem) -> None:
    requests, pools, slots, _ = FAMILIES["S"]
    assert (len(small.requests.ids), len(small.pools.ids), small.slots) == (requests, pools, slots)


@pytest.mark.parametrize("name", ["S:1.1:1", "M:0.7:12:256"])
def test_a_name_reads_as_it_is_written(name: str) -> None:
    assert str(Synthetic.parse(name)) == name


@pytest.mark.parametrize("name", ["", "S", "S:1.1", "T:1.1:1", "S:0:1", "S:1.1:-1", "S:x:1", "S:1.1:1:1", "S:1:1:1:1"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Synthetic.parse(name)
