"""A watch shows every change once and in order, whatever happens to the connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import grpc
import pytest
from capacitybroker import Claim, Client, Compacted, Unavailable
from capacitybroker.v1.capacity_service_pb2 import ListClaimsResponse, WatchClaimsResponse

from tests.client.broker_double import Script, Step, answer, overloaded, refuse, serving, stream, unavailable
from tests.client.fake_time import FakeTime, TopOfRange
from tests.client.half_open import line_to


def change(revision: int, *names: str, partial: bool = False) -> WatchClaimsResponse:
    return WatchClaimsResponse(revision=revision, claims=[Claim(name=n) for n in names], partial=partial)


def open_with(*messages: WatchClaimsResponse) -> Step:
    """A step that streams, and then nothing more until the caller leaves."""

    def step(_request: object, context: grpc.ServicerContext) -> Iterator[WatchClaimsResponse]:
        left = threading.Event()
        context.add_callback(left.set)
        yield from messages
        left.wait()

    return step


def seen(script: Script, count: int, *, start_revision: int = 1, progress: bool = False) -> list[tuple[int, list[str]]]:
    time = FakeTime()
    with (
        serving(script) as address,
        Client(address, monotonic=time.monotonic, sleep=time.sleep, rng=TopOfRange()) as client,
    ):
        watch = client.watch_claims(
            tenant="lab", start_revision=start_revision, progress=progress, give_up_seconds=20.0
        )
        return [(c.revision, [claim.name for claim in c.claims]) for c in islice(watch, count)]


def test_parts_of_one_revision_come_as_one() -> None:
    script = Script(WatchClaims=[stream(change(1, "a", partial=True), change(1, "b"), change(2, "c"))])
    assert seen(script, 2) == [(1, ["a", "b"]), (2, ["c"])]


def test_what_a_watch_is_limited_to_is_asked_for_on_every_connection() -> None:
    script = Script(WatchClaims=[stream(change(5, "a"), then=unavailable()), stream(change(6, "b"))])
    time = FakeTime()
    with (
        serving(script) as address,
        Client(address, tenant="lab", monotonic=time.monotonic, sleep=time.sleep, rng=TopOfRange()) as client,
    ):
        watch = client.watch_claims(claims=["one", "lab/two"], states=[Claim.STATE_PLANNED], start_revision=5)
        assert [c.revision for c in islice(watch, 2)] == [5, 6]
    for request in script.requests:
        assert list(request.claims) == ["tenants/lab/claims/one", "tenants/lab/claims/two"]
        assert list(request.states) == [Claim.STATE_PLANNED]


def test_a_lost_connection_goes_on_after_the_last_whole_revision() -> None:
    script = Script(WatchClaims=[stream(change(5, "a"), then=unavailable()), stream(change(6, "b"))])
    assert seen(script, 2, start_revision=5) == [(5, ["a"]), (6, ["b"])]
    assert [r.start_revision for r in script.requests] == [5, 6]


def test_a_revision_cut_in_the_middle_is_asked_for_again_and_shown_once() -> None:
    cut = stream(change(5, "a"), change(6, "b", partial=True), then=unavailable())
    script = Script(WatchClaims=[cut, stream(change(6, "b", partial=True), change(6, "c"))])
    assert seen(script, 2, start_revision=5) == [(5, ["a"]), (6, ["b", "c"])]
    assert [r.start_revision for r in script.requests] == [5, 6]


def test_progress_moves_the_place_to_go_on_from_and_is_shown_when_asked_for() -> None:
    steps = [stream(change(9), then=unavailable()), stream(change(10, "a"))]
    script = Script(WatchClaims=[*steps])
    assert seen(script, 1) == [(10, ["a"])]
    assert script.requests[-1].start_revision == 10
    assert seen(Script(WatchClaims=[*steps]), 2, progress=True) == [(9, []), (10, ["a"])]


def test_from_now_means_from_the_call_even_if_the_first_connection_fails() -> None:
    script = Script(
        ListClaims=[answer(ListClaimsResponse(revision=41))], WatchClaims=[unavailable(), stream(change(42, "a"))]
    )
    assert seen(script, 1, start_revision=0) == [(42, ["a"])]
    assert [r.start_revision for r in script.requests[1:]] == [42, 42]


def test_a_server_that_has_too_much_to_do_is_asked_again() -> None:
    script = Script(WatchClaims=[stream(change(1, "a")), overloaded(0.01), stream(change(2, "b"))])
    assert seen(script, 2) == [(1, ["a"]), (2, ["b"])]


def test_a_server_that_drains_or_finds_the_reader_slow_is_asked_again() -> None:
    slow = refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCH_TOO_SLOW")
    script = Script(WatchClaims=[stream(change(1, "a")), stream(then=slow), stream(change(2, "b"))])
    assert seen(script, 2) == [(1, ["a"]), (2, ["b"])]


def test_compaction_is_an_error_that_says_to_list_again() -> None:
    gone = refuse(grpc.StatusCode.OUT_OF_RANGE, "COMPACTED", "too old", remedy="List the claims again.")
    with pytest.raises(Compacted) as raised:
        seen(Script(WatchClaims=[stream(then=gone)]), 1)
    assert raised.value.remedy == "List the claims again."


def test_a_broker_that_stays_away_is_given_up() -> None:
    with pytest.raises(Unavailable):
        seen(Script(WatchClaims=[unavailable()]), 1)


def test_a_closed_watch_ends() -> None:
    with serving(Script(WatchClaims=[open_with(change(1, "a"))])) as address, Client(address) as client:
        watch = client.watch_claims(start_revision=1)
        changes = iter(watch)
        assert next(changes).revision == 1
        watch.close()
        assert list(changes) == []
        assert watch.next_revision == 2


def test_a_watch_that_only_hears_progress_is_not_given_up_however_often_it_connects() -> None:
    quiet = [stream(change(number), then=unavailable()) for number in range(1, 61)]
    assert seen(Script(WatchClaims=[*quiet, stream(change(61, "a"))]), 1) == [(61, ["a"])]


def test_a_server_that_vanished_without_a_word_is_left_for_another_connection() -> None:
    script = Script(WatchClaims=[open_with(change(1, "a")), stream(change(2, "b"))])
    with serving(script) as server, line_to(server) as line, Client(line.address) as client:
        changes = iter(client.watch_claims(start_revision=1, silence_seconds=2.0))
        assert next(changes).revision == 1
        line.cut()
        assert next(changes).revision == 2
        assert line.made >= 2
    assert [request.start_revision for request in script.requests][-1] == 2


def test_time_that_the_reader_takes_is_no_silence() -> None:
    silence = 1.0
    script = Script(WatchClaims=[stream(change(1, "a"), change(2, "b"))])
    with serving(script) as server, Client(server) as client:
        changes = iter(client.watch_claims(start_revision=1, silence_seconds=silence))
        assert next(changes).revision == 1
        threading.Event().wait(2 * silence)
        assert next(changes).revision == 2
    assert len(script.requests) == 1


def test_a_broker_that_stays_silent_is_given_up() -> None:
    with serving(Script(WatchClaims=[open_with()])) as server, Client(server) as client:
        changes = iter(client.watch_claims(start_revision=1, silence_seconds=0.05, give_up_seconds=0.2))
        with pytest.raises(Unavailable, match=r"nothing came from the broker for 0\.05 s"):
            next(changes)


def test_a_closed_client_ends_its_watches() -> None:
    with serving(Script(WatchClaims=[open_with(change(1, "a"))])) as server:
        with Client(server) as client:
            changes = iter(client.watch_claims(start_revision=1))
            assert next(changes).revision == 1
        assert list(changes) == []
