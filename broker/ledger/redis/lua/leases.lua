-- Leases: hash `leases` holds "<fencing token>\n<ttl (ms)>" under the claim's key, sorted set `lease_ends` when each of
-- them ends, and `lease_ghosts` what holders of leases that were ended for them may still use: "<account>|<devices>|<key>"
-- until when. All ends are in the market's lease time.

local leases = {}

local AWAY_MILLIS = 2000 -- servers look at the clock several times a second; longer than this, nobody served
local RETURN_MILLIS = 10000 -- for holders to find whoever serves again

-- Lease time now (ms), what the clock shows, and until when by that clock lease time stands still. It passes as the
-- store's clock does (or the clock `given`), but not where that goes back or leaps, nor for a while after: as long as
-- nobody serves nobody can renew, so whatever lives then ends as much later.
function leases.time(m, given)
  local wall = tonumber(given)
  if not wall then
    local now = redis.call('TIME')
    wall = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
  end
  local known = redis.call('HMGET', m.keys.meta, 'lease_time', 'lease_seen', 'lease_still')
  local time, passed, still = tonumber(known[1] or '0'), wall - tonumber(known[2] or wall), tonumber(known[3] or '0')
  if passed < 0 or passed > AWAY_MILLIS then
    still = wall + RETURN_MILLIS
  end
  if wall > still then
    time = time + math.min(passed, wall - still)
  end
  return time, wall, still
end

-- Lease time now, kept for whoever looks next.
function leases.tick(m, given)
  local time, wall, still = leases.time(m, given)
  redis.call('HSET', m.keys.meta, 'lease_time', market.digits(time), 'lease_seen', market.digits(wall),
    'lease_still', market.digits(still))
  return time
end

-- Whether somebody may still hold a lease that the market knows nothing of, as it came from an earlier copy.
function leases.recovering(m, given)
  local known = redis.call('HGET', m.keys.meta, 'recovering_until')
  return known and leases.time(m, given) < tonumber(known)
end

-- Fencing token and ttl (texts) of a record, nothing for false.
function leases.read(record)
  if record then
    return string.match(record, '^(%d+)\n(%d+)$')
  end
end

function leases.write(m, key, fence, ttl_millis, ends)
  redis.call('HSET', m.keys.leases, key, fence .. '\n' .. ttl_millis)
  redis.call('ZADD', m.keys.lease_ends, market.digits(ends), key)
end

-- Forgets the leases of these claims, if they have any.
function leases.drop(m, names)
  redis.call('HDEL', m.keys.leases, unpack(names))
  redis.call('ZREM', m.keys.lease_ends, unpack(names))
end

-- Ends the lease of a claim that lost its place, if it has one: whoever holds it may use what it `held` until it would
-- have ended.
function leases.displace(m, key, held, slot)
  local ends = redis.call('ZSCORE', m.keys.lease_ends, key)
  if not ends then
    return
  end
  local entries = cjson.decode(held)
  for i = 1, #entries, 4 do
    local account, first, stop, devices = entries[i], entries[i + 1], entries[i + 2], entries[i + 3]
    if string.sub(account, 1, 6) == 'pools/' and first <= slot and slot < stop then
      redis.call('ZADD', m.keys.lease_ghosts, ends, account .. '|' .. market.digits(devices) .. '|' .. key)
    end
  end
  leases.drop(m, { key })
end

-- Whether pools of `holds` have in `slot` all that they granted, and what may still be in use after `after` as well.
function leases.room(m, holds, slot, after)
  local used = {}
  local entries = cjson.decode(holds)
  for i = 1, #entries, 4 do
    if string.sub(entries[i], 1, 6) == 'pools/' and entries[i + 1] <= slot and slot < entries[i + 2] then
      used[entries[i]] = books.excess(m, entries[i], slot)
    end
  end
  for _, ghost in ipairs(redis.call('ZRANGEBYSCORE', m.keys.lease_ghosts, '(' .. market.digits(after), '+inf')) do
    local account, devices = string.match(ghost, '^([^|]*)|(%d+)|')
    if used[account] then
      used[account] = used[account] + tonumber(devices)
    end
  end
  for _, excess in pairs(used) do
    if excess > 0 then
      return false
    end
  end
  return true
end
