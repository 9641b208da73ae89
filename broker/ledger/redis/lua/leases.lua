-- Leases: hash `leases` holds "<fencing token>\n<ttl (ms)>" under the claim's key, sorted set `lease_ends` when each of
-- them ends, and `lease_ghosts` what holders of leases that were ended for them may still use:
-- "<account>|<devices>|<key>|<fencing token>|<domains>" until when, domains being "<first>-<end>," as often as it takes.
-- All ends are in the market's lease time.

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

-- Devices in `slot` of each pool that `holds` name.
local function in_slot(holds, slot)
  local devices = {}
  local entries = cjson.decode(holds)
  for i = 1, #entries, 4 do
    local account, first, stop = entries[i], entries[i + 1], entries[i + 2]
    if string.sub(account, 1, 6) == 'pools/' and first <= slot and slot < stop then
      devices[account] = (devices[account] or 0) + entries[i + 3]
    end
  end
  return devices
end

-- First and end of each run of domains that a claim's body tells in `slot`, by account.
local function domains_in_slot(body, slot)
  local claim, found = cjson.decode(body), {}
  for i, place in ipairs(claim.domains and claim.placements or {}) do
    local account = 'pools/' .. place[1]
    for _, span in ipairs(place[3] <= slot and slot < place[4] and claim.domains[i] or {}) do
      found[account] = found[account] or {}
      table.insert(found[account], { span[1], span[1] + span[2] })
    end
  end
  return found
end

-- Whether domains of a ghost may be among those of whoever wants a lease; as long as these are not told they may be.
local function meet(ghost, told)
  for first, stop in string.gmatch(ghost, '(%d+)-(%d+),') do
    if not told then
      return true
    end
    for _, span in ipairs(told) do
      if span[1] < tonumber(stop) and tonumber(first) < span[2] then
        return true
      end
    end
  end
  return false
end

-- Ends the lease of a live claim that is about to lose its place, if it has one: whoever holds it may use what is stored
-- of the claim until the lease would have ended.
function leases.displace(m, key, slot)
  local ends = redis.call('ZSCORE', m.keys.lease_ends, key)
  if not ends then
    return
  end
  local fence = leases.read(redis.call('HGET', m.keys.leases, key))
  local held, body = string.match(redis.call('HGET', m.keys.live, key), '^%d+\n([^\n]*)\n(.*)$')
  local told = domains_in_slot(body, slot)
  for account, devices in pairs(in_slot(held, slot)) do
    local ghost = account .. '|' .. market.digits(devices) .. '|' .. key .. '|' .. fence .. '|'
    for _, span in ipairs(told[account] or {}) do
      ghost = ghost .. market.digits(span[1]) .. '-' .. market.digits(span[2]) .. ','
    end
    redis.call('ZADD', m.keys.lease_ghosts, ends, ghost)
  end
  leases.drop(m, { key })
end

-- Whether pools of a claim's `holds` have in `slot` all that they granted, and what may still be in use after `after` as
-- well, on other domains than its own. What the claim itself had there and has again is the same devices.
function leases.room(m, key, holds, body, slot, after)
  local mine, told, used = in_slot(holds, slot), domains_in_slot(body, slot), {}
  for account in pairs(mine) do
    used[account] = books.excess(m, account, slot)
  end
  for _, ghost in ipairs(redis.call('ZRANGEBYSCORE', m.keys.lease_ghosts, '(' .. market.digits(after), '+inf')) do
    local account, digits, owner, domains = string.match(ghost, '^([^|]*)|(%d+)|([^|]*)|?%d*|?(.*)$')
    if used[account] then
      if owner ~= key and meet(domains, told[account]) then
        return false
      end
      local devices = tonumber(digits)
      local again = owner == key and math.min(mine[account], devices) or 0
      mine[account] = mine[account] - again
      used[account] = used[account] + devices - again
    end
  end
  for _, excess in pairs(used) do
    if excess > 0 then
      return false
    end
  end
  return true
end
