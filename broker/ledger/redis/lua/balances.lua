-- balances: what every account that ever lent anything has granted in a window.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 first slot, 2 end slot
-- Reply OK fleet body, [account, little-endian int32 per slot, ...] | MISSING

verb_reading('balances', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local first, stop = tonumber(args[1]), tonumber(args[2])
  local granted = {}
  for _, account in ipairs(redis.call('SMEMBERS', m.keys.accounts)) do
    granted[#granted + 1] = account
    granted[#granted + 1] = books.read(m, account, first, stop)
  end
  return market.reply(m, 'OK', redis.call('GET', m.keys.fleet) or '', granted)
end)
