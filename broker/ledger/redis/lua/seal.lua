-- seal: sets what page tokens are signed with, unless that was done before; the first to come decides for all.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 token key
-- Reply OK schema, token key (the one that rules) | MISSING

verb('seal', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  redis.call('HSETNX', m.keys.meta, 'token_key', args[1])
  return market.reply(m, 'OK', unpack(market.seal(m)))
end)
