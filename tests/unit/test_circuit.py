"""A silent store is asked by one call at a time; everybody else is refused at once."""

from broker.ledger.redis.circuit import REST_SECONDS, SILENCES, Circuit
from tests.ledger.ledgers import FakeClock


def made(clock: FakeClock, spread: float = 0.5) -> Circuit:
    return Circuit(now=clock, spread=lambda: spread, look_seconds=2.0)


def test_it_opens_after_two_silences_in_a_row() -> None:
    circuit = made(FakeClock())
    circuit.silent()
    assert circuit.admits()
    circuit.answered()
    for _ in range(SILENCES):
        assert circuit.admits()
        circuit.silent()
    assert not circuit.admits()


def test_one_call_looks_once_it_has_rested_and_an_answer_closes_it() -> None:
    clock = FakeClock()
    circuit = made(clock)
    for _ in range(SILENCES):
        circuit.silent()
    clock.seconds = REST_SECONDS[0]
    assert [circuit.admits() for _ in range(3)] == [True, False, False]
    circuit.answered()
    assert circuit.admits()


def test_a_look_that_never_ends_is_made_again() -> None:
    clock = FakeClock()
    circuit = made(clock)
    for _ in range(SILENCES):
        circuit.silent()
    clock.seconds = 1.0
    assert circuit.admits()
    clock.seconds = 3.1
    assert circuit.admits()


def test_rests_are_spread_and_never_longer_than_told() -> None:
    for spread in (0.0, 0.999):
        clock = FakeClock()
        circuit = made(clock, spread)
        for _ in range(20):
            circuit.silent()
        first = next(n for n in range(2_000) if _admits_at(circuit, clock, n / 1000))
        assert 0.5 * REST_SECONDS[1] <= first / 1000 <= 1.5 * REST_SECONDS[1]


def test_a_broken_line_spares_nobody_but_is_no_answer() -> None:
    circuit = made(FakeClock())
    for _ in range(9):
        circuit.broken()
    assert circuit.admits()
    for _ in range(SILENCES):
        circuit.silent()
    circuit.broken()
    assert not circuit.admits()


def _admits_at(circuit: Circuit, clock: FakeClock, seconds: float) -> bool:
    clock.seconds = seconds
    return circuit.admits()
