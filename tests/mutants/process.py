"""Mutants of planners, leases, retries and watches."""

from __future__ import annotations

from tests.mutants import Mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    Mutant(
        "epoch check removed",
        "broker/ledger/redis/lua/commit.lua",
        "if incarnation ~= m.incarnation or epoch ~= present_epoch then",
        "if incarnation ~= m.incarnation then",
        "tests/ledger/test_commit.py::test_a_deposed_planner_is_fenced",
    ),
    Mutant(
        "epoch not raised",
        "broker/ledger/redis/lua/lead.lua",
        "    epoch = epoch + 1\n",
        "",
        "tests/ledger/test_commit.py::test_a_deposed_planner_is_fenced",
    ),
    Mutant(
        "verifier skipped",
        "broker/quarantine.py",
        "    if verdict.violations or verdict.objective != solved.objective:",
        "    if False:",
        "tests/faults/test_solver.py::test_a_plan_that_lies_is_never_put_into_force",
    ),
    Mutant(
        "objective believed",
        "broker/quarantine.py",
        "    if verdict.violations or verdict.objective != solved.objective:",
        "    if verdict.violations:",
        "tests/faults/test_solver.py::test_a_plan_that_lies_is_never_put_into_force",
    ),
    Mutant(
        "lease re-granted without skew",
        "broker/ledger/redis/lua/expire.lua",
        "tonumber(ends) + tonumber(args[12]) >=",
        "tonumber(ends) >=",
        "tests/ledger/test_leases.py::test_what_a_lease_is_for_is_not_lost_before_the_margin_is_over",
    ),
    Mutant(
        "margin forgotten",
        "broker/leasing.py",
        "return self.skew + self.grace",
        "return 0",
        "tests/transport/test_leases.py::test_a_lease_that_is_over_is_given_away_a_skew_and_a_grace_later",
    ),
    Mutant(
        "expiry runs during a clock jump",
        "broker/ledger/redis/lua/leases.lua",
        "if passed < 0 or passed > AWAY_MILLIS then",
        "if passed < 0 then",
        "tests/ledger/test_leases.py::test_time_in_which_nobody_served_does_not_count",
    ),
    Mutant(
        "retries without jitter",
        "clients/python/src/capacitybroker/_retry.py",
        "self.time.rng.uniform(0, ceiling)",
        "ceiling",
        "tests/client/test_calls.py::test_chance_may_make_any_pause_as_short_as_nothing",
    ),
    Mutant(
        "retried under another request id",
        "clients/python/src/capacitybroker/_caller.py",
        "            return method.with_call(request,",
        "            request.request_id = self._new_id()\n            return method.with_call(request,",
        "tests/client/test_calls.py::test_a_mutation_is_repeated_with_the_same_request_id",
    ),
    Mutant(
        "a plan insists on its moves",
        "broker/into_force.py",
        "if fault.reason is not FaultReason.OVERCOMMIT or not 0 < moving < len(changed):",
        "if fault.reason is FaultReason.OVERCOMMIT:",
        "tests/ledger/test_into_force.py"
        "::test_who_was_to_move_stays_where_others_took_the_room_and_who_is_new_is_served",
    ),
    Mutant(
        "watch resumes one late",
        "broker/feed.py",
        "known, after = self.revision, first - 1",
        "known, after = self.revision, first",
        "tests/transport/test_resume.py::test_it_resumes_at_every_revision_while_history_is_trimmed",
    ),
    Mutant(
        "client resumes one early",
        "clients/python/src/capacitybroker/_watch.py",
        "self._next_revision = message.revision + 1",
        "self._next_revision = message.revision",
        "tests/client/test_watch.py::test_a_lost_connection_goes_on_after_the_last_whole_revision",
    ),
    Mutant(
        "solver killed late",
        "broker/optimiser/worker.py",
        "limit = self._grace + 1.5 * (",
        "limit = self._grace + 30 * (",
        "tests/faults/test_solver.py::test_a_solver_that_is_lost_leaves_the_last_plan",
    ),
    Mutant(
        "nobody is set aside",
        "broker/quarantine.py",
        "return self.failures >= FAILURES",
        "return False",
        "tests/faults/test_solver.py::test_a_poisonous_claim_is_set_aside_and_all_others_are_planned",
    ),
    Mutant(
        "the neighbour of the culprit is set aside",
        "broker/quarantine.py",
        "culprit = waiting.pop(high - 1)",
        "culprit = waiting.pop(low - 1)",
        "tests/planner/test_quarantine.py::test_those_of_whom_planning_fails_are_found_and_nobody_else",
    ),
    Mutant(
        "blamed without being tried alone",
        "broker/quarantine.py",
        "guilty = await _again(survives, (), (culprit,))",
        "guilty = True",
        "tests/planner/test_quarantine.py::test_two_that_are_harmless_alone_are_parted_and_not_blamed",
    ),
    Mutant(
        "blamed though now this fails and now that",
        "broker/quarantine.py",
        "if not await survives(without) or await survives(with_it):",
        "if False:",
        "tests/planner/test_quarantine.py::test_nobody_is_blamed_where_a_solver_gets_no_time",
    ),
    Mutant(
        "a changed claim stays set aside",
        "broker/quarantine.py",
        "self._aside.get(claim.name, (-1, False))[0] == claim.revision",
        "claim.name in self._aside",
        "tests/planner/test_quarantine.py::test_a_claim_that_was_changed_is_looked_at_again",
    ),
    Mutant(
        "failpoints without the developer flag",
        "broker/settings.py",
        'if text and environment.get("BROKER_DEVELOPER") != "1":',
        "if False:",
        "tests/unit/test_failpoints.py",
    ),
)
