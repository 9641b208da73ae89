-- lead: takes or renews the planner's lease. The server's clock decides when it ends, where that is set back no later than
-- a ttl after somebody else has asked for it; the epoch fences whoever lost it.
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
  local lease = redis.call('HMGET', m.keys.meta, 'leader', 'leader_until', 'epoch', 'leader_ttl')
  local leader, leader_until, epoch, leader_ttl = lease[1], tonumber(lease[2]), tonumber(lease[3]), tonumber(lease[4])
  if planner ~= leader then
    if now < leader_until then
      if leader_ttl and now + leader_ttl < leader_until then
        redis.call('HSET', m.keys.meta, 'leader_until', market.digits(now + leader_ttl))
      end
      return market.reply(m, 'HELD')
    end
    epoch = epoch + 1
  end

  redis.call('HSET', m.keys.meta, 'leader', planner, 'epoch', market.digits(epoch))
  if ttl_millis > 0 then
    redis.call('HSET', m.keys.meta, 'leader_until', market.digits(now + ttl_millis),
      'leader_ttl', market.digits(ttl_millis))
  else -- it steps down, whatever the clock shows next; a planner of an earlier release, which writes no ttl, may follow
    redis.call('HSET', m.keys.meta, 'leader_until', '0')
    redis.call('HDEL', m.keys.meta, 'leader_ttl')
  end
  return market.reply(m, 'OK', market.digits(epoch))
end)
