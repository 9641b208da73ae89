-- fleet: the fleet in force.
-- KEYS  1 prefix of the market's keys
-- Reply OK fleet body ("" before the first) | MISSING

verb_reading('fleet', function(keys)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  return market.reply(m, 'OK', redis.call('GET', m.keys.fleet) or '')
end)
