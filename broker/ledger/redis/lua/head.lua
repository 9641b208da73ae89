-- head: which market this is and how far it has come.
-- KEYS  1 prefix of the market's keys
-- Reply OK schema, token key or '', revision of the fleet | MISSING

verb_reading('head', function(keys)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local seal = market.seal(m)
  return market.reply(m, 'OK', seal[1], seal[2], market.fleet_revision(m))
end)
