-- Claims as they are stored: "<revision>\n<holds>\n<body>" under the claim's key, in hash `live` or hash `closed`.
-- The body is opaque here: it may hold integers that Lua's numbers cannot.

local claims = {}

-- The stored text of a claim.
function claims.text(revision, holds, body)
  return revision .. '\n' .. holds .. '\n' .. body
end

-- Revision (text) and holds of a stored claim.
function claims.head(stored)
  return string.match(stored, '^(%d+)\n([^\n]*)\n')
end

-- The claim of that key as stored, wherever it is; nil when there is none.
function claims.find(m, key)
  return redis.call('HGET', m.keys.live, key) or redis.call('HGET', m.keys.closed, key) or nil
end

-- Writes one claim where it belongs.
function claims.write(m, key, live, stored)
  if live then
    redis.call('HSET', m.keys.live, key, stored)
  else
    redis.call('HSET', m.keys.closed, key, stored)
    redis.call('HDEL', m.keys.live, key)
  end
end

-- Replaces one live claim that gains no hold: all of `amend`, `cancel` and the verbs of leases but the name of the event.
-- `refuse`, if given, looks at the market before anything is written and returns the reply that refuses; `also` writes
-- what belongs to the revision that was made.
-- KEYS  1 prefix of the market's keys, 2 replay record
-- ARGV  1 method, 2 body digest, 3 replay ttl (ms), 4 log events kept, 5 at (Unix s), 6 claim key,
--       7 revision that it replaces, 8 "2" if it stays live and leased, "1" if it stays live, 9 holds, 10 body
-- Reply OK revision, body | REPLAYED revision, body | CLAIM_NOT_FOUND | CONTENDED present revision | CLAIM_CLOSED |
--       GAINS_HOLDS | REQUEST_ID_REUSED
function claims.replace(keys, args, kind, refuse, also)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local request = replay.request(keys, args)
  local settled = replay.settled(m, request)
  if settled then
    return settled
  end
  local log_events_max, at, key, expected, live, holds, body = unpack(args, 4, 10)
  local stored = claims.find(m, key)
  if not stored then
    return market.reply(m, 'CLAIM_NOT_FOUND')
  end
  local revision, held = claims.head(stored)
  if revision ~= expected then
    return market.reply(m, 'CONTENDED', revision)
  end
  if redis.call('HEXISTS', m.keys.live, key) == 0 then
    return market.reply(m, 'CLAIM_CLOSED')
  end
  local net = {}
  books.add(net, held, -1)
  books.add(net, holds, 1)
  if books.gains(net) then
    return market.reply(m, 'GAINS_HOLDS')
  end
  local staged, refusal = books.stage(m, net, 0)
  if not staged then
    return market.reply(m, unpack(refusal))
  end
  local refused = refuse and refuse(m)
  if refused then
    return refused
  end

  revision = market.record(m, kind, at, ',"claims":[' .. body .. ']', log_events_max)
  claims.write(m, key, live ~= '0', claims.text(revision, holds, body))
  books.write(m, staged)
  if live ~= '2' then
    leases.drop(m, { key })
  end
  if also then
    also(m, revision)
  end
  replay.keep(request, revision, body)
  return market.reply(m, 'OK', revision, body)
end
