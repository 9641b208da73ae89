-- renew: lets leases end later, each a ttl from now; nothing of it is in the log.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 clock (ms; "": the store's), then for each lease: claim key, fencing token, ttl (ms; 0: as before)
-- Reply OK and for each lease the ms that are left, -1 where it has ended | MISSING

local ITEM = 3

verb_relieving('renew', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local now = leases.tick(m, args[1])
  local names, ends, left = {}, {}, {}
  for i = 2, #args, ITEM do
    names[#names + 1] = args[i]
  end
  for n, record in ipairs(redis.call('HMGET', m.keys.leases, unpack(names))) do
    local fence, ttl = leases.read(record)
    local held, wanted = args[ITEM * n], args[ITEM * n + 1]
    if fence and fence == held then
      if wanted ~= '0' and wanted ~= ttl then
        ttl = wanted
        redis.call('HSET', m.keys.leases, names[n], fence .. '\n' .. ttl)
      end
      ends[#ends + 1] = market.digits(now + ttl)
      ends[#ends + 1] = names[n]
      left[n] = tonumber(ttl)
    else
      left[n] = -1
    end
  end
  if #ends > 0 then
    redis.call('ZADD', m.keys.lease_ends, unpack(ends))
  end
  return market.reply(m, 'OK', left)
end)
