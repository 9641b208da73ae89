-- recall: what a request was answered, without doing it.
-- KEYS  1 prefix of the market's keys, 2 replay record
-- ARGV  1 method, 2 body digest
-- Reply REPLAYED revision, answer | NEW | REQUEST_ID_REUSED | MISSING

verb_reading('recall', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  return replay.settled(m, replay.request(keys, args)) or market.reply(m, 'NEW')
end)
