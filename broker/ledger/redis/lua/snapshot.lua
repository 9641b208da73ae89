-- snapshot: the fleet and all live claims, as of one revision.
-- KEYS  1 prefix of the market's keys
-- Reply OK fleet body ("" before the first), stored claims | MISSING

verb_reading('snapshot', function(keys)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  return market.reply(m, 'OK', redis.call('GET', m.keys.fleet) or '', redis.call('HVALS', m.keys.live))
end)
