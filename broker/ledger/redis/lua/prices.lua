-- prices: the bid prices in force.
-- KEYS  1 prefix of the market's keys
-- Reply OK "<revision>\n<packed>" ("" before the first) | MISSING

verb_reading('prices', function(keys)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  return market.reply(m, 'OK', redis.call('GET', m.keys.prices) or '')
end)
