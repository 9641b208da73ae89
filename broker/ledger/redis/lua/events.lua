-- events: the events after a revision, in order; a reply ends early once it has become large.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 revision after which to start, 2 events wanted, 3 "1" if also of a market that is halted
-- Reply OK events | COMPACTED oldest revision kept | REVISION_AHEAD | MISSING

local REPLY_BYTES = 4194304

verb_reading('events', function(keys, args)
  local open = args[3] == '1' and market.open_halted or market.open
  local m, missing = open(keys[1])
  if not m then
    return missing
  end
  local after, wanted = tonumber(args[1]), tonumber(args[2])
  if after > m.revision then
    return market.reply(m, 'REVISION_AHEAD')
  end
  local found, bytes = {}, 0
  for revision = after + 1, math.min(after + wanted, m.revision) do
    local id = market.digits(revision) .. '-0'
    local entry = redis.call('XRANGE', m.keys.log, id, id)[1]
    if not entry then
      local oldest = redis.call('XRANGE', m.keys.log, '-', '+', 'COUNT', 1)[1]
      return market.reply(m, 'COMPACTED', oldest and string.match(oldest[1], '^%d+') or market.digits(m.revision + 1))
    end
    found[#found + 1] = entry[2][2]
    bytes = bytes + #entry[2][2]
    if bytes > REPLY_BYTES then
      break
    end
  end
  return market.reply(m, 'OK', found)
end)
