-- submit: stores a new live claim, as the first of some candidates that fits, else as one that holds nothing.
-- KEYS  1 prefix of the market's keys, 2 replay record
-- ARGV  1 method, 2 body digest, 3 replay ttl (ms), 4 log events kept, 5 at (Unix s), 6 claim key,
--       7 body that holds nothing ("": a candidate must fit), 8 first slot whose limit counts, then for each candidate: holds, body
-- Reply OK revision, body | REPLAYED revision, body | CLAIM_EXISTS | NO_ROOM | REQUEST_ID_REUSED | MISSING

local FIRST_CANDIDATE = 9

-- Body, holds and staged books of the first candidate that fits; nil when none does.
local function fitting(m, args)
  for i = FIRST_CANDIDATE, #args, 2 do
    local net = {}
    books.add(net, args[i], 1)
    local staged, refusal = books.stage(m, net, tonumber(args[8]))
    if staged then
      return args[i + 1], args[i], staged
    end
    if refusal[1] ~= 'OVERCOMMIT' then
      return nil, refusal
    end
  end
end

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
  local log_events_max, at, key, waiting = unpack(args, 4, 7)
  if redis.call('ZSCORE', m.keys.names, key) or claims.find(m, key) then
    return market.reply(m, 'CLAIM_EXISTS')
  end
  local body, holds, staged = fitting(m, args)
  if not body and holds then
    return market.reply(m, unpack(holds))
  end

  body, holds = body or waiting, holds or '[]'
  if body == '' then
    return market.reply(m, 'NO_ROOM')
  end

  local revision = market.record(m, 'SUBMITTED', at, ',"claims":[' .. body .. ']', log_events_max)
  claims.write(m, key, true, claims.text(revision, holds, body))
  redis.call('ZADD', m.keys.names, 0, key)
  if staged then
    books.write(m, staged)
  end
  replay.keep(request, revision, body)
  return market.reply(m, 'OK', revision, body)
end)
