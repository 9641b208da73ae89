-- submit: stores a new live claim, as the first of some candidates that fits, else as one that holds nothing. The last
-- candidate may need others to move: they are replaced in the same revision, if each is still as it was.
-- KEYS  1 prefix of the market's keys, 2 replay record
-- ARGV  1 method, 2 body digest, 3 replay ttl (ms), 4 log events kept, 5 at (Unix s), 6 claim key,
--       7 body that holds nothing ("": a candidate must fit), 8 first slot whose limit counts, 9 claims that move, for
--       each of them: key, revision that it replaces, "1" (it stays live), holds, body; then for each candidate: holds, body
-- Reply OK revision, body | REPLAYED revision, body | CLAIM_EXISTS | NO_ROOM | REQUEST_ID_REUSED | MISSING

local ROW = 5
local FIRST_ROW = 10

-- Adds to `net` what moving the claims changes; false when one of them is no longer as it was.
local function moving(m, args, count, net)
  for row = FIRST_ROW, FIRST_ROW + (count - 1) * ROW, ROW do
    local stored = redis.call('HGET', m.keys.live, args[row])
    local revision, held
    if stored then
      revision, held = claims.head(stored)
    end
    if revision ~= args[row + 1] then
      return false
    end
    books.add(net, held, -1)
    books.add(net, args[row + 3], 1)
  end
  return true
end

-- Body, holds and staged books of the first candidate that fits, and how many claims move for it; nil when none does.
local function fitting(m, args)
  local count = tonumber(args[9])
  for i = FIRST_ROW + count * ROW, #args, 2 do
    local net, moves = {}, i + 2 > #args and count or 0
    books.add(net, args[i], 1)
    if moves == 0 or moving(m, args, moves, net) then
      local staged, refusal = books.stage(m, net, tonumber(args[8]))
      if staged then
        return args[i + 1], args[i], staged, moves
      end
      if refusal[1] ~= 'OVERCOMMIT' then
        return nil, refusal
      end
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
  if redis.call('ZSCORE', m.keys.names, key) then
    return market.reply(m, 'CLAIM_EXISTS')
  end
  local body, holds, staged, moves = fitting(m, args)
  if not body and holds then
    return market.reply(m, unpack(holds))
  end

  body, holds = body or waiting, holds or '[]'
  if body == '' then
    return market.reply(m, 'NO_ROOM')
  end

  local bodies = { body }
  local last_row = FIRST_ROW + ((moves or 0) - 1) * ROW
  for row = FIRST_ROW, last_row, ROW do
    bodies[#bodies + 1] = args[row + 4]
  end
  local revision = market.record(m, 'SUBMITTED', at, ',"claims":[' .. table.concat(bodies, ',') .. ']', log_events_max)
  claims.write(m, key, true, claims.text(revision, holds, body))
  redis.call('ZADD', m.keys.names, 0, key)
  for row = FIRST_ROW, last_row, ROW do
    claims.write(m, args[row], true, claims.text(revision, args[row + 3], args[row + 4]))
  end
  if staged then
    books.write(m, staged)
  end
  replay.keep(request, revision, body)
  return market.reply(m, 'OK', revision, body)
end)
