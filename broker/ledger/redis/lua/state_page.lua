-- state_page: some of the claims as they are stored, for whoever checks them against the log.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 which ("live" or "closed"), 2 cursor ("0" to begin), 3 claims wanted, more or less
-- Reply OK next cursor ("0" at the end), [claim key, stored claim, ...] | MISSING

verb_reading('state_page', function(keys, args)
  local m, missing = market.open_halted(keys[1])
  if not m then
    return missing
  end
  local found = redis.call('HSCAN', args[1] == 'closed' and m.keys.closed or m.keys.live, args[2], 'COUNT', args[3])
  return market.reply(m, 'OK', found[1], found[2])
end)
