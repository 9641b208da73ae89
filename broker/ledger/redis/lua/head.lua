-- head: which market this is and how far it has come.
-- KEYS  1 prefix of the market's keys
-- Reply OK schema, token key or '' | MISSING

verb_reading('head', function(keys)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  return market.reply(m, 'OK', unpack(market.seal(m)))
end)
