-- lead: takes or renews the planner's lease. The server's clock decides when it ends; the epoch fences whoever lost it.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 planner id, 2 ttl (ms)
-- Reply OK epoch | HELD | MISSING

verb_relieving('lead', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local planner, ttl_millis = args[1], tonumber(args[2])
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local lease = redis.call('HMGET', m.keys.meta, 'leader', 'leader_until', 'epoch')
  local leader, leader_until, epoch = lease[1], tonumber(lease[2]), tonumber(lease[3])
  if planner ~= leader then
    if now < leader_until then
      return market.reply(m, 'HELD')
    end
    epoch = epoch + 1
  end

  redis.call('HSET', m.keys.meta, 'leader', planner, 'epoch', market.digits(epoch),
    'leader_until', market.digits(now + ttl_millis))
  return market.reply(m, 'OK', market.digits(epoch))
end)
