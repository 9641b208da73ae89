-- plan: one of the last hundred plans.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 its revision, "" for the latest
-- Reply OK "<revision>\n<skipped>\n<body>" | PLAN_NOT_FOUND | MISSING

verb_reading('plan', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local found
  if args[1] == '' then
    found = redis.call('ZRANGE', m.keys.plans, -1, -1)
  else
    found = redis.call('ZRANGEBYSCORE', m.keys.plans, args[1], args[1])
  end
  if not found[1] then
    return market.reply(m, 'PLAN_NOT_FOUND')
  end
  return market.reply(m, 'OK', found[1])
end)
