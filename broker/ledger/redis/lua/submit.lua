-- submit: stores a new live claim that holds nothing.
-- KEYS  1 prefix of the market's keys, 2 replay record
-- ARGV  1 method, 2 body digest, 3 replay ttl (ms), 4 log events kept, 5 at (Unix s), 6 claim key, 7 body
-- Reply OK revision, body | REPLAYED revision, body | CLAIM_EXISTS | REQUEST_ID_REUSED | MISSING

verb('submit', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local request = replay.request(keys, args)
  local settled = replay.settled(m, request)
  if settled then
    return settled
  end
  local log_events_max, at, key, body = unpack(args, 4, 7)
  if redis.call('ZSCORE', m.keys.names, key) or claims.find(m, key) then
    return market.reply(m, 'CLAIM_EXISTS')
  end

  local revision = market.record(m, 'SUBMITTED', at, ',"claims":[' .. body .. ']', log_events_max)
  claims.write(m, key, true, claims.text(revision, '[]', body))
  redis.call('ZADD', m.keys.names, 0, key)
  replay.keep(request, revision, body)
  return market.reply(m, 'OK', revision, body)
end)
