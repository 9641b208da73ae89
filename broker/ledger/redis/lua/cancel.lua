-- cancel: replaces a live claim by its cancelled self, which keeps only what it had used.
-- KEYS, ARGV and reply: see claims.replace

verb_relieving('cancel', function(keys, args)
  return claims.replace(keys, args, 'CANCELLED')
end)
