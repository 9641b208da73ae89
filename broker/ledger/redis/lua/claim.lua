-- claim: one claim, live or closed.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 claim key
-- Reply OK stored claim | CLAIM_NOT_FOUND | MISSING

verb_reading('claim', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local stored = claims.find(m, args[1])
  if not stored then
    return market.reply(m, 'CLAIM_NOT_FOUND')
  end
  return market.reply(m, 'OK', stored)
end)
