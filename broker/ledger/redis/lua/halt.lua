-- halt: from now on every call on the market is refused, by whichever process, until an operator accepts the market.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 incarnation that is meant, 2 why
-- Reply OK | OTHER (it is another market by now) | MISSING

verb_relieving('halt', function(keys, args)
  local m, missing = market.open_halted(keys[1])
  if not m then
    return missing
  end
  if m.incarnation ~= args[1] then
    return market.reply(m, 'OTHER')
  end
  redis.call('HSETNX', m.keys.meta, 'halted', args[2])
  return market.reply(m, 'OK')
end)
