-- amend: replaces a live claim that its owner changed; it may keep or give up holds, never gain any.
-- KEYS, ARGV and reply: see claims.replace

verb('amend', function(keys, args)
  return claims.replace(keys, args, 'AMENDED')
end)
