-- acquire: makes a claim active, with a lease whose fencing token is the revision that this makes. An earlier lease of
-- the claim ends by it; without one there must be room for all that may be in use.
-- KEYS, ARGV 1 to 10 and reply: see claims.replace; ARGV 11 clock (ms; "": the store's), 12 ttl (ms), 13 slot,
--       14 margin (ms) for which what somebody may still use is not given out again
-- Reply also HANDOVER

verb('acquire', function(keys, args)
  local clock, ttl_millis, slot, margin = unpack(args, 11, 14)
  return claims.replace(keys, args, 'LEASED', function(m)
    local held = redis.call('HEXISTS', m.keys.leases, args[6]) == 1
    if not held and leases.recovering(m, clock) then
      return market.reply(m, 'HANDOVER')
    end
    if not held and not leases.room(m, args[6], args[9], args[10], tonumber(slot), leases.time(m, clock) - margin) then
      return market.reply(m, 'HANDOVER')
    end
  end, function(m, revision)
    leases.write(m, args[6], revision, ttl_millis, leases.tick(m, clock) + ttl_millis)
  end)
end)
