-- claims_page: claims, live or closed, in order of key.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 lower bound, 2 upper bound (both as ZRANGEBYLEX takes them), 3 claims wanted
-- Reply OK stored claims, one more than wanted if there are more | MISSING

verb_reading('claims_page', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local names = redis.call('ZRANGEBYLEX', m.keys.names, args[1], args[2], 'LIMIT', 0, tonumber(args[3]) + 1)
  local found = {}
  for _, key in ipairs(names) do
    found[#found + 1] = claims.find(m, key)
  end
  return market.reply(m, 'OK', found)
end)
