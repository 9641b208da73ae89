-- Replay records: what a request was and what it was answered, so that repeating it changes nothing.
-- A record is "<method>\n<body digest>\n<revision>\n<answer>" and expires on its own.

local replay = {}

-- A request as the first arguments of every mutation name it.
function replay.request(keys, args)
  return { key = keys[2], method = args[1], digest = args[2], ttl_millis = args[3] }
end

-- The reply that settles a repeated request, or nil for a new one.
function replay.settled(m, request)
  local record = redis.call('GET', request.key)
  if not record then
    return nil
  end
  local method, digest, revision, answer = string.match(record, '^([^\n]*)\n([^\n]*)\n(%d+)\n(.*)$')
  if method ~= request.method or digest ~= request.digest then
    return market.reply(m, 'REQUEST_ID_REUSED')
  end
  return market.reply(m, 'REPLAYED', revision, answer)
end

-- Keeps the answer of a request that made `revision`.
function replay.keep(request, revision, answer)
  local record = request.method .. '\n' .. request.digest .. '\n' .. revision .. '\n' .. answer
  redis.call('SET', request.key, record, 'PX', request.ttl_millis)
end
