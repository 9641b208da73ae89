-- ask_plan: records that a plan is wanted.
-- KEYS  1 prefix of the market's keys, 2 replay record
-- ARGV  1 method, 2 body digest, 3 replay ttl (ms), 4 log events kept, 5 at (Unix s), 6 time limit (s), "" for none
-- Reply OK revision, "" | REPLAYED revision, "" | REQUEST_ID_REUSED | MISSING

verb('ask_plan', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local request = replay.request(keys, args)
  local settled = replay.settled(m, request)
  if settled then
    return settled
  end
  local log_events_max, at, time_limit_seconds = unpack(args, 4, 6)

  local rest = time_limit_seconds == '' and '' or ',"time_limit_seconds":' .. time_limit_seconds
  local revision = market.record(m, 'PLAN_ASKED', at, rest, log_events_max)
  replay.keep(request, revision, '')
  return market.reply(m, 'OK', revision, '')
end)
