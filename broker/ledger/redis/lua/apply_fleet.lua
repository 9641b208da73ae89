-- apply_fleet: puts a fleet into force and names where claims hold more than it gives; the same fleet again is no change.
-- KEYS  1 prefix of the market's keys, 2 replay record
-- ARGV  1 method, 2 body digest, 3 replay ttl (ms), 4 log events kept, 5 at (Unix s), 6 first slot to look at,
--       7 "1" to store nothing, 8 fleet body, 9 revision of the fleet that it replaces ("": whichever), then account and
--       limit (see books.lua) of each account
-- Reply OK revision, answer | REPLAYED revision, answer | CONTENDED present fleet revision | REQUEST_ID_REUSED | MISSING
-- An answer is the shortfalls, a new line, and the body of the fleet before.

verb('apply_fleet', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local request = replay.request(keys, args)
  local settled = replay.settled(m, request)
  if settled then
    return settled
  end
  local log_events_max, at, from_slot, dry_run, body, expected = unpack(args, 4, 9)
  local present = market.fleet_revision(m)
  if expected ~= '' and expected ~= present then
    return market.reply(m, 'CONTENDED', present)
  end
  local limits = {}
  for i = 10, #args, 2 do
    limits[args[i]] = args[i + 1]
  end
  local before = redis.call('GET', m.keys.fleet) or ''
  local shortfalls = books.shortfalls(m, limits, tonumber(from_slot))
  local answer = shortfalls .. '\n' .. before
  if dry_run == '1' or body == before then
    return market.reply(m, 'OK', market.digits(m.revision), answer)
  end

  local rest = ',"fleet":' .. body .. ',"shortfalls":' .. shortfalls
  local revision = market.record(m, 'FLEET_APPLIED', at, rest, log_events_max)
  redis.call('SET', m.keys.fleet, body)
  redis.call('HSET', m.keys.meta, 'fleet_revision', revision)
  redis.call('DEL', m.keys.limits)
  for account, steps in pairs(limits) do
    redis.call('HSET', m.keys.limits, account, steps)
  end
  replay.keep(request, revision, answer)
  return market.reply(m, 'OK', revision, answer)
end)
