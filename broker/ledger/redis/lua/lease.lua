-- lease: the lease of a claim.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 clock (ms; "": the store's), 2 claim key
-- Reply OK fencing token, ttl (ms), ms left | NO_LEASE | MISSING

verb_reading('lease', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local fence, ttl = leases.read(redis.call('HGET', m.keys.leases, args[2]))
  if not fence then
    return market.reply(m, 'NO_LEASE')
  end
  local left = redis.call('ZSCORE', m.keys.lease_ends, args[2]) - leases.time(m, args[1])
  return market.reply(m, 'OK', fence, ttl, market.digits(left))
end)
