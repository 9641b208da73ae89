"""Mutants of what keeps bad input out."""

from __future__ import annotations

from tests.mutants import Mutant

__all__ = ["MUTANTS"]

DOOR, REQUESTS, SERVER = (f"broker/transport/{room}.py" for room in ("door", "requests", "server"))
LIMITS, CLAIMS, LISTS = (f"tests/transport/test_{room}.py" for room in ("limits", "claims", "lists"))
ROWS = "tests/faults/test_input.py::test_bad_input_is_refused_well"

MUTANTS = (
    Mutant(
        "page-token-unsigned",
        REQUESTS,
        "hmac.digest(self.key, ",
        'hmac.digest(b"", ',
        f"{LISTS}::test_a_token_of_another_market_is_forged",
    ),
    Mutant(
        "page-token-unchecked",
        REQUESTS,
        "if not genuine or token != self.token(after):",
        "if not raw:",
        f"{LISTS}::test_a_token_reads_back_and_nothing_near_it_does",
    ),
    Mutant(
        "etag-ignored",
        "broker/desk.py",
        "if etag and etag != str(claim.revision):",
        "if not claim:",
        f"{CLAIMS}::test_a_stale_etag_is_refused",
    ),
    Mutant(
        "body-hash-ignored",
        REQUESTS,
        "digest = hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()",
        'digest = ""',
        f"{CLAIMS}::test_a_request_id_means_one_thing",
    ),
    Mutant(
        "request-id-of-all-tenants",
        REQUESTS,
        "RequestKey(tenant or OPERATORS,",
        "RequestKey(OPERATORS,",
        f"{ROWS}[B61 same id, another tenant]",
    ),
    Mutant(
        "output-only-in-a-mask",
        "broker/transport/capacity_service.py",
        "if fixed := OUTPUT_ONLY & set(mask.paths):",
        "if fixed := set[str]():",
        f"{ROWS}[B66 mask of state]",
    ),
    Mutant(
        "unreadable-message-escapes",
        DOOR,
        "except DecodeError:",
        "except EOFError:",
        f"{ROWS}[B38 FF FE FD to CreateClaim]",
    ),
    Mutant(
        "message-one-too-large",
        DOOR,
        "if len(raw) > most:",
        "if len(raw) > most + 1:",
        f"{LIMITS}::test_a_message_at_the_edge",
    ),
    Mutant(
        "message-waited-for-for-ever",
        DOOR,
        "            task.cancel()",
        "            continue",
        f"{LIMITS}::test_a_call_whose_message_does_not_come_is_let_go",
    ),
    Mutant(
        "second-message-unchecked",
        DOOR,
        "                yield read(raw)",
        "                yield raw",
        f"{LIMITS}::test_what_comes_second_on_a_stream_is_checked_too",
    ),
    Mutant(
        "one-stream-too-many",
        DOOR,
        "if self._streams >= self.streams_max:",
        "if self._streams > self.streams_max:",
        f"{LIMITS}::test_streams_of_renewals_are_limited",
    ),
    Mutant(
        "gzip-unpacked",
        SERVER,
        '("grpc.compression_enabled_algorithms_bitset", 1)',
        '("grpc.compression_enabled_algorithms_bitset", 7)',
        f"{ROWS}[B44 64 KiB of gzip that are 64 MiB]",
    ),
    Mutant(
        "one-claim-too-many",
        "broker/admission/vetting.py",
        "if claims >= most:",
        "if claims > most:",
        f"{LIMITS}::test_open_claims_of_a_tenant_are_limited",
    ),
    Mutant(
        "closed-claims-counted",
        "broker/admission/outlook.py",
        "+= claim.live - (before is not None)",
        "+= before is None",
        f"{LIMITS}::test_open_claims_of_a_tenant_are_limited",
    ),
    Mutant(
        "one-watch-too-many",
        "broker/feed.py",
        "if there >= most:",
        "if there > most:",
        f"{LIMITS}::test_no_tenant_takes_the_watches_of_others",
    ),
    Mutant(
        "money-beyond-counting",
        "broker/admission/vetting.py",
        "* CLAIM_SLOTS_MAX > MONEY_MAX:",
        "> MONEY_MAX:",
        f"{LIMITS}::test_a_fleet_whose_money_cannot_be_counted_is_refused",
    ),
    Mutant(
        "a-bug-tells-of-itself",
        "broker/transport/status.py",
        '"The broker failed; its log has the cause."',
        "repr(__import__('sys').exc_info()[1])",
        f"{LIMITS}::test_a_bug_is_told_as_one_and_nothing_of_it_leaves",
    ),
)
