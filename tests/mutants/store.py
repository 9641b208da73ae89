"""Mutants of the ledger on a store, and of what watches over it."""

from tests.mutants import Mutant

LUA = "broker/ledger/redis/lua"
REDIS = "broker/ledger/redis"
STORE, LINE, DAMAGE, REPLICA = (f"tests/faults/test_store{name}.py" for name in ("", "_line", "_damage", "_replica"))

MUTANTS = (
    Mutant(
        "reply before AOF: everysec is accepted",
        f"{REDIS}/start.py",
        '("appendfsync", "always"), ',
        "",
        f"{STORE}::test_a_store_that_acknowledges_first_is_refused",
    ),
    Mutant(
        "reply before AOF: the embedded store acknowledges first, and nobody looks",
        f"{REDIS}/embedded.py",
        '"appendfsync": "always"',
        '"appendfsync": "everysec"',
        f"{STORE}::test_power_loss_loses_nothing",
    ),
    Mutant(
        "event published before the commit: it is there though the change is refused",
        f"{LUA}/submit.lua",
        "    return market.reply(m, 'NO_ROOM')\n",
        "    market.record(m, 'SUBMITTED', at, '', log_events_max)\n    return market.reply(m, 'NO_ROOM')\n",
        "tests/ledger/test_submit.py::test_what_is_refused_leaves_no_event",
    ),
    Mutant(
        "trimmed resume served silently",
        f"{LUA}/events.lua",
        "    if not entry then\n",
        "    if not entry then\n      return market.reply(m, 'OK', found)\n    end\n    if not entry then\n",
        "tests/ledger/test_redis_store.py::test_old_events_are_compacted",
    ),
    Mutant(
        ">= for > at capacity",
        f"{LUA}/books.lua",
        "if granted > limit and level > 0 then",
        "if granted >= limit and level > 0 then",
        "tests/ledger/test_commit.py::test_a_large_plan_is_one_revision",
    ),
    Mutant(
        "one device too many at capacity",
        f"{LUA}/books.lua",
        "if granted > limit and level > 0 then",
        "if granted > limit + 1 and level > 0 then",
        "tests/ledger/test_submit.py::test_a_claim_waits_when_no_candidate_fits",
    ),
    Mutant(
        "held not counted",
        "broker/domain/claim.py",
        "if self.ran else self.placements\n        if not placements:",
        "if self.ran else self.placements\n        if not placements or isinstance(self.state, Held):",
        "tests/transport/test_quotes.py::test_what_is_held_counts_as_used_and_is_redeemed_as_quoted",
    ),
    Mutant(
        "no dedup write",
        f"{LUA}/replay.lua",
        "  redis.call('SET', request.key, record, 'PX', request.ttl_millis)\n",
        "",
        f"{STORE}::test_wiped_store_is_restored_from_its_export",
    ),
    Mutant(
        "dedup outside the commit: written by the next change only",
        f"{LUA}/replay.lua",
        "  redis.call('SET', request.key, record, 'PX', request.ttl_millis)\n",
        "  if replay.late then\n"
        "    redis.call('SET', replay.late[1], replay.late[2], 'PX', request.ttl_millis)\n"
        "  end\n"
        "  replay.late = { request.key, record }\n",
        f"{LINE}::test_flapping_line_loses_nothing",
    ),
    Mutant(
        "gang split over two scripts: a plan's claims are committed one half after the other",
        f"{REDIS}/ledger.py",
        '        reply = await self._link.call("commit", *head, encode_plan(plan), blob, *rows)\n',
        "        half = len(claims) // 2 * 5\n"
        '        await self._link.call("commit", *head, encode_plan(plan), blob, *rows[:half])\n'
        '        reply = await self._link.call("commit", *head, encode_plan(plan), blob, *rows[half:])\n',
        "tests/ledger/test_commit.py::test_a_large_plan_is_one_revision",
    ),
    Mutant(
        "a store that has gone back by one change is believed",
        f"{LUA}/market.lua",
        "m.revision < tonumber(revision)",
        "m.revision < tonumber(revision) - 1",
        f"{REPLICA}::test_failover_to_a_stale_replica_halts",
    ),
    Mutant(
        "another incarnation is believed",
        f"{REDIS}/link.py",
        "if incarnation != self._incarnation:",
        "if False:",
        f"{REPLICA}::test_split_brain_is_refused",
    ),
    Mutant(
        "a halt is not told to others",
        f"{REDIS}/link.py",
        "            await self.halt_all(spoilt.why)\n",
        "            self.halt(spoilt.why)\n",
        f"{REPLICA}::test_failover_to_a_stale_replica_halts",
    ),
    Mutant(
        "an operator's acceptance waits for nobody",
        f"{LUA}/leases.lua",
        "  return known and leases.time(m, given) < tonumber(known)\n",
        "  return false\n",
        f"{REPLICA}::test_failover_to_a_stale_replica_halts",
    ),
    Mutant(
        "an empty store is a new market",
        "broker/app.py",
        "    if create and witness.file.exists():",
        "    if False and create and witness.file.exists():",
        f"{STORE}::test_wiped_store_halts",
    ),
    Mutant(
        "nobody looks at the books",
        f"{REDIS}/verify.py",
        "return await self._wrong_books() or await self._wrong_claims()",
        "return await self._wrong_claims()",
        f"{DAMAGE}::test_edited_store_halts",
    ),
    Mutant(
        "nobody looks at the claims",
        f"{REDIS}/verify.py",
        "return await self._wrong_books() or await self._wrong_claims()",
        "return await self._wrong_books()",
        f"{DAMAGE}::test_edited_store_halts",
    ),
    Mutant(
        "the circuit never opens",
        f"{REDIS}/circuit.py",
        "        self._silences += 1\n",
        "",
        f"{LINE}::test_hung_store_stalls_nobody",
    ),
    Mutant(
        "a call waits five seconds",
        f"{REDIS}/link.py",
        "call_seconds_max: float = 1.0",
        "call_seconds_max: float = 5.0",
        f"{LINE}::test_a_call_waits_a_second_at_most",
    ),
    Mutant(
        "much travels with little",
        f"{REDIS}/link.py",
        "        self._bulk = Batches(self.client, seconds_max=settings.bulk_seconds_max)\n",
        "        self._bulk = self._batches\n",
        f"{LINE}::test_much_at_a_time_holds_up_nobody",
    ),
    Mutant(
        "renewing needs room",
        f"{LUA}/renew.lua",
        "verb_relieving(",
        "verb(",
        f"{LINE}::test_full_store_still_renews_and_gives_back",
    ),
    Mutant(
        "what is new is taken though there is no room",
        f"{LUA}/submit.lua",
        "verb('submit'",
        "verb_relieving('submit'",
        f"{LINE}::test_full_store_still_renews_and_gives_back",
    ),
    Mutant(
        "a torn copy is restored",
        "broker/ledger/copy_file.py",
        "return bool(before ==",
        "return bool(count or before ==",
        f"{DAMAGE}::test_spoilt_export_is_refused",
    ),
    Mutant(
        "a changed policy is not noticed",
        f"{REDIS}/start.py",
        ', ("maxmemory-policy", "noeviction")',
        "",
        f"{LINE}::test_settings_that_lose_keys_halt",
    ),
    Mutant(
        "functions that are not ours are called",
        f"{REDIS}/line.py",
        'any(one[b"library_code"] != library().code.encode() for one in told)',
        'not all(one[b"library_code"] for one in told)',
        "tests/faults/test_store.py::test_damaged_functions_are_replaced",
    ),
    Mutant(
        "a hole in the log is taken for its beginning",
        f"{REDIS}/reading.py",
        "if oldest > after + 1:",
        "if oldest > 0:",
        "tests/faults/test_store.py::test_hole_in_the_log_halts",
    ),
    Mutant(
        "a planner that is gone leads until the clock is where it was",
        f"{LUA}/lead.lua",
        "if leader_ttl and now + leader_ttl < leader_until then",
        "if false then",
        f"{LINE}::test_a_clock_set_back_keeps_no_planner_from_leading",
    ),
)
