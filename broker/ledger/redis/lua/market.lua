-- A market: the names of its keys, its head, and the one way to make a revision.
-- Every reply starts with incarnation, present revision (decimal text) and a code; see library.py.

local market = {}

-- Keys beside the head, `meta`; they never expire.
market.PARTS = {
  'fleet', 'limits', 'granted', 'accounts', 'live', 'closed', 'names', 'log', 'plans', 'prices',
  'leases', 'lease_ends', 'lease_ghosts',
}

-- The names of a market's keys, by prefix: the same for every call, so they are put together once.
local named = {}

local function names(prefix)
  local keys = named[prefix]
  if not keys then
    keys = { meta = prefix .. 'meta' }
    for _, name in ipairs(market.PARTS) do
      keys[name] = prefix .. name
    end
    named[prefix] = keys
  end
  return keys
end

-- Opens the market under `prefix`, even if it is halted; without one, returns nil and the reply that says so.
function market.open_halted(prefix)
  local keys = names(prefix)
  local head = redis.call('HMGET', keys.meta, 'incarnation', 'revision', 'halted')
  if not head[1] or not head[2] then
    return nil, { '', '0', 'MISSING' }
  end
  return { keys = keys, incarnation = head[1], revision = tonumber(head[2]), halted = head[3] }
end

-- Opens the market under `prefix`; without one that may be trusted, returns nil and the reply that says so.
function market.open(prefix)
  local m, missing = market.open_halted(prefix)
  if m and m.halted then
    return nil, market.reply(m, 'HALTED', m.halted)
  end
  -- Whoever has seen more, or another life of the market, must change nothing in what is left of it.
  local incarnation, revision = string.match(known, '^.*:([^:]*):(%d+)$')
  if m and incarnation ~= '' and (incarnation ~= m.incarnation or m.revision < tonumber(revision)) then
    return nil, market.reply(m, 'BEHIND')
  end
  return m, missing
end

-- Decimal text of a whole number; Lua's own turns to exponents at 2^53.
function market.digits(number)
  return string.format('%.0f', number)
end

-- The reply with `code` and whatever follows it.
function market.reply(m, code, ...)
  return { m.incarnation, market.digits(m.revision), code, ... }
end

-- Schema, and what page tokens are signed with ('' as long as nobody has set it).
function market.seal(m)
  local found = redis.call('HMGET', m.keys.meta, 'schema', 'token_key')
  return { found[1], found[2] or '' }
end

-- The revision (text) that put the fleet in force there; '0' before the first, or if an older release did.
function market.fleet_revision(m)
  return redis.call('HGET', m.keys.meta, 'fleet_revision') or '0'
end

-- Makes the next revision with its event; `rest` is JSON that follows the event's first fields, starting with a comma.
-- XADD comes first: it refuses an id that is not above the last, so a head that went backwards changes nothing.
function market.record(m, kind, at, rest, log_events_max)
  local revision = market.digits(m.revision + 1)
  local event = '{"v":1,"revision":' .. revision .. ',"kind":"' .. kind .. '","at":' .. at .. rest .. '}'
  redis.call('XADD', m.keys.log, 'MAXLEN', '~', log_events_max, revision .. '-0', 'event', event)
  redis.call('HSET', m.keys.meta, 'revision', revision)
  m.revision = m.revision + 1
  return revision
end
