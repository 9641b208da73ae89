-- overdue: lets lease time pass, and names claims whose leases ended a margin ago and longer, the longest ago first.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 clock (ms; "": the store's), 2 margin (ms), 3 how many at most
-- Reply OK claim keys | MISSING

verb_relieving('overdue', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local before = '(' .. market.digits(leases.tick(m, args[1]) - args[2])
  redis.call('ZREMRANGEBYSCORE', m.keys.lease_ghosts, '-inf', before)
  return market.reply(m, 'OK', redis.call('ZRANGEBYSCORE', m.keys.lease_ends, '-inf', before, 'LIMIT', 0, args[3]))
end)
