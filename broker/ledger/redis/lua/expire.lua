-- expire: ends a claim whose holder has not renewed its lease in time, nor a margin later.
-- KEYS, ARGV 1 to 10 and reply: see claims.replace; ARGV 11 clock (ms; "": the store's), 12 margin (ms)
-- Reply also LEASE_LIVES

verb_relieving('expire', function(keys, args)
  return claims.replace(keys, args, 'LEASE_EXPIRED', function(m)
    local ends = redis.call('ZSCORE', m.keys.lease_ends, args[6])
    if not ends or tonumber(ends) + tonumber(args[12]) >= leases.time(m, args[11]) then
      return market.reply(m, 'LEASE_LIVES')
    end
  end)
end)
