"""Mutants of overload and of what a broker tells of itself."""

from __future__ import annotations

from tests.mutants import Mutant

RETRY = "clients/python/src/capacitybroker/_retry.py"
LIMIT, LIMITS = "clients/python/src/capacitybroker/_concurrency.py", "tests/client/test_concurrency.py"
LOAD = "broker/transport/load.py"
CALLS, LOADS, AUDITS = "tests/client/test_calls.py", "tests/transport/test_load.py", "tests/telemetry/test_audit.py"

MUTANTS = (
    Mutant(
        "retries without jitter",
        RETRY,
        "self.time.rng.uniform(0, ceiling)",
        "ceiling",
        f"{CALLS}::test_the_jitter_is_full",
    ),
    Mutant(
        "retries without a budget",
        RETRY,
        " or not (free or self.budget.spend()):",
        ":",
        f"{CALLS}::test_repeats_to_a_busy_broker_are_a_tenth_of_the_calls_and_ten_at_once",
    ),
    Mutant(
        "RetryInfo ignored",
        RETRY,
        "return (error.retry_after_seconds or 0.0) +",
        "return 0.0 +",
        f"{CALLS}::test_a_call_that_is_too_much_is_repeated_after_the_delay_that_the_server_names",
    ),
    Mutant(
        "renew shed before create",
        LOAD,
        "if lane is Lane.URGENT:\n            ahead, most, patience",
        "if lane is not Lane.URGENT:\n            ahead, most, patience",
        f"{LOADS}::test_a_renewal_is_never_refused_where_a_claim_would_not_be",
    ),
    Mutant(
        "renewals served after claims",
        LOAD,
        "for line in (*others, urgent) if patient else (urgent, *others):",
        "for line in (*others, urgent):",
        f"{LOADS}::test_a_renewal_is_served_before_a_claim_that_came_first_and_claims_have_turns_too",
    ),
    Mutant(
        "tenants not served in turn",
        LOAD,
        "self._tenants.append(tenant)\n        else:",
        "self._tenants.appendleft(tenant)\n        else:",
        f"{LOADS}::test_tenants_have_their_turns_one_after_the_other",
    ),
    Mutant(
        "deadline not looked at while queued",
        LOAD,
        "patience = min(self._patience(), seconds_left)",
        "patience = self._patience()",
        f"{LOADS}::test_a_call_whose_deadline_would_pass_meanwhile_is_refused_at_once",
    ),
    Mutant(
        "a call that was cancelled keeps its place",
        LOAD,
        "self.leave(lane, cost)  # its turn had come in the same moment",
        "pass",
        f"{LOADS}::test_who_is_cancelled_while_it_waits_leaves_no_trace",
    ),
    Mutant(
        "however many are refused, they stay away no longer",
        "broker/transport/pulse.py",
        "min(self.MOST, self.seconds * self.LONGER)",
        "self.seconds",
        f"{LOADS}::test_who_is_refused_stays_away_until_refusing_costs_little_beside_answering",
    ),
    Mutant(
        "plain calls go before heavy ones for ever",
        LOAD,
        "if waiter.lane is Lane.PLAIN and self._saves_room():",
        "if False:",
        f"{LOADS}::test_a_heavy_call_has_its_turn_however_many_plain_ones_wait",
    ),
    Mutant(
        "a refused renewal shortens how long a client stays away",
        RETRY,
        "if overloaded(error) and not kind.urgent:",
        "if overloaded(error):",
        f"{CALLS}::test_a_call_with_less_time_than_the_client_must_stay_away_is_refused_at_once",
    ),
    Mutant(
        "a refusal does not lower the concurrency limit of a client",
        LIMIT,
        "self._set(self.most / 2, began, now)",
        "pass",
        f"{LIMITS}::test_a_refusal_halves_it_once_for_all_that_were_under_way",
    ),
    Mutant(
        "a client does not mind how late answers are",
        LIMIT,
        "max(-1.0, 1.0 - late / self.TARGET_SECONDS)",
        "1.0",
        f"{LIMITS}::test_however_many_clients_keep_a_queue_of_about_the_target_and_no_idle_broker",
    ),
    Mutant(
        "a client whose limit is below one sends without a pause",
        LIMIT,
        "return max(0.0, self._paused_until - now)",
        "return 0.0",
        f"{LIMITS}::test_however_many_clients_keep_a_queue_of_about_the_target_and_no_idle_broker",
    ),
    Mutant(
        "a client asks for less because others ask for much",
        RETRY,
        "self.limit.answered(kind.method, late_seconds(call), ",
        "self.limit.answered(kind.method, 1.0, ",
        f"{LIMITS}::test_a_client_goes_by_how_late_the_broker_says_it_is",
    ),
    Mutant(
        "who asks for little is told to ask for less",
        LOAD,
        "if late and not self.by_tenant.modest(tenant) else",
        "if late else",
        f"{LOADS}::test_a_call_is_told_how_late_it_is_because_of_what_its_tenant_asks_for",
    ),
    Mutant(
        "a call is sent with less time left than answers take",
        RETRY,
        "now + pause + self.limit.takes(kind.method) >= deadline",
        "now + pause >= deadline",
        f"{LIMITS}::test_a_call_that_has_waited_is_not_sent_with_less_time_than_answers_take",
    ),
    Mutant(
        "what a full line has no room for is read before it is refused",
        LOAD,
        "full=self._full(lane) and self.by_peer.greedy(who)",
        "full=False",
        f"{LOADS}::test_a_full_line_refuses_what_nobody_has_read_but_who_asks_for_little_is_read",
    ),
    Mutant(
        "gRPC's wake-ups are read one by one",
        "broker/transport/wakeups.py",
        "if written > 1:",
        "if False:",
        "tests/transport/test_wakeups.py::test_many_bytes_are_one_wake_up_and_a_later_one_is_another",
    ),
    Mutant(
        "calls taken in at once are not counted",
        "broker/transport/intake.py",
        "busy = len(self._calls) >= self._calls_max",
        "busy = False",
        "tests/transport/test_intake.py::test_calls_beyond_the_most_at_once_are_refused",
    ),
    Mutant(
        "errors of calls that ended keep these alive",
        "broker/transport/intake.py",
        "raise error.with_traceback(None)",
        "raise",
        "tests/transport/test_garbage.py::test_errors_of_calls_that_ended_are_gone_at_once",
    ),
    Mutant(
        "a standby that stops takes the lease",
        "broker/planner.py",
        "if self._fence is not None:  # or it would take",
        "if True:  # or it would take",
        "tests/planner/test_promises.py"
        "::test_a_standby_that_stops_takes_nothing_from_a_leader_whose_lease_has_just_lapsed",
    ),
    Mutant(
        "audit chain unchecked",
        "broker/telemetry/chain.py",
        "if shown != before.encode():",
        "if False:",
        f"{AUDITS}::test_a_record_that_was_changed_is_seen",
    ),
    Mutant(
        "audit record not chained to the one before",
        "broker/telemetry/audit.py",
        "self._head, self._told_lost = head, self.lost",
        "self._told_lost = self.lost",
        f"{AUDITS}::test_a_change_says_who_what_which_and_whence",
    ),
    Mutant(
        "token in the log",
        "broker/telemetry/logs.py",
        'TOKEN.sub(r"\\1.[secret]", text)',
        "text",
        "tests/telemetry/test_logs.py::test_tokens_and_passwords_are_taken_out_wherever_they_are",
    ),
    Mutant(
        "dead watchers stay",
        "broker/transport/guard.py",
        "loop.call_later(self.unread_seconds_max, own.cancel)",
        "loop.call_later(self.unread_seconds_max, print)",
        "tests/faults/test_overload.py::test_watchers_that_never_read_are_ended_and_others_do_not_notice",
    ),
)
