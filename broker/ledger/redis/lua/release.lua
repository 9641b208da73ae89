-- release: ends a claim whose holder gives its lease back.
-- KEYS, ARGV 1 to 10 and reply: see claims.replace; ARGV 11 fencing token
-- Reply also LEASE_ENDED

verb_relieving('release', function(keys, args)
  return claims.replace(keys, args, 'RELEASED', function(m)
    if leases.read(redis.call('HGET', m.keys.leases, args[6])) ~= args[11] then
      return market.reply(m, 'LEASE_ENDED')
    end
  end)
end)
