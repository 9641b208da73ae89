-- state: what the books say, for whoever checks them against the log; also of a market that is halted.
-- KEYS  1 prefix of the market's keys
-- Reply OK why it is halted or '', fleet body, revision of the fleet, [account, limit, ...], [chunk, packed, ...],
--       { live claims, closed claims, names, events, oldest event's revision }, [head field, value, ...] | MISSING |
--       SPOILT text (a key is of another type than it should be)

local TYPES = {
  fleet = 'string', prices = 'string', accounts = 'set', names = 'zset', plans = 'zset', lease_ends = 'zset',
  lease_ghosts = 'zset', log = 'stream', limits = 'hash', granted = 'hash', live = 'hash', closed = 'hash',
  leases = 'hash',
}

verb_reading('state', function(keys)
  local m, missing = market.open_halted(keys[1])
  if not m then
    return missing
  end
  for _, name in ipairs(market.PARTS) do
    local found = redis.call('TYPE', m.keys[name]).ok
    if found ~= 'none' and found ~= TYPES[name] then
      return market.reply(m, 'SPOILT', name .. ' is a ' .. found .. ', not a ' .. TYPES[name])
    end
  end
  local oldest = redis.call('XRANGE', m.keys.log, '-', '+', 'COUNT', 1)[1]
  local counts = {
    redis.call('HLEN', m.keys.live), redis.call('HLEN', m.keys.closed), redis.call('ZCARD', m.keys.names),
    redis.call('XLEN', m.keys.log), oldest and tonumber(string.match(oldest[1], '^%d+')) or 0,
  }
  return market.reply(m, 'OK', m.halted or '', redis.call('GET', m.keys.fleet) or '', market.fleet_revision(m),
    redis.call('HGETALL', m.keys.limits), redis.call('HGETALL', m.keys.granted), counts,
    redis.call('HGETALL', m.keys.meta))
end)
