-- accept: an operator trusts the market as it stands. It gets another incarnation and epoch, so that whoever knew it
-- before stops; nobody gets a new lease until all that others may still hold are over.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 incarnation, 2 clock (ms; "": the store's), 3 ms for which leases may be held that the market knows nothing of
-- Reply OK | MISSING

verb_relieving('accept', function(keys, args)
  local m, missing = market.open_halted(keys[1])
  if not m then
    return missing
  end
  local until_time = leases.tick(m, args[2]) + args[3]
  redis.call('HSET', m.keys.meta, 'incarnation', args[1], 'leader', '', 'leader_until', '0', 'recovering_until',
    market.digits(until_time))
  redis.call('HINCRBY', m.keys.meta, 'epoch', 1)
  redis.call('HDEL', m.keys.meta, 'halted')
  m.incarnation = args[1]
  return market.reply(m, 'OK')
end)
