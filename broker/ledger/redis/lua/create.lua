-- create: makes an empty market unless there is one; never on top of what is left of one.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 incarnation, 2 schema, 3 at (Unix s)
-- Reply OK schema, token key or '' (of the market that is there now) | DAMAGED text

verb('create', function(keys, args)
  local prefix = keys[1]
  local incarnation, schema, at = unpack(args)
  if redis.call('EXISTS', prefix .. 'meta') == 0 then
    for _, name in ipairs(market.PARTS) do
      if redis.call('EXISTS', prefix .. name) == 1 then
        return { '', '0', 'DAMAGED', 'the head of the market is gone but ' .. prefix .. name .. ' is there' }
      end
    end
    redis.call('HSET', prefix .. 'meta', 'incarnation', incarnation, 'revision', '0', 'schema', schema,
      'created_at', at, 'epoch', '0', 'leader', '', 'leader_until', '0')
  end
  local m, missing = market.open(prefix)
  if not m then
    return missing
  end
  return market.reply(m, 'OK', unpack(market.seal(m)))
end)
