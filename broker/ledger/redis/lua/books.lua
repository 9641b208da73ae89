-- Books: devices granted per account and slot.
-- Hash `granted`: field "<account>|<chunk>" -> 256 little-endian int32, one for each slot of the chunk; absent: zeros.
-- Set `accounts`: every account that such a field was ever written for.
-- Hash `limits`: account -> JSON [slot, level, slot, level, ...], the first slot 0; absent: pools and tenants' accounts
-- for work on loan, tenants/<id>/loans, lend nothing, tenants without bound. Holds are JSON [account, first, end, devices, ...].

local books = {}

local CHUNK_SLOTS = 256
local ZEROS = ('\0'):rep(4 * CHUNK_SLOTS) -- as a method: libraries may not name `string` while they load
local DEVICES_MAX = 2147483647
local BATCH = 1000 -- arguments of one command: unpack's results must fit Lua's stack

local function limit_of(account, steps)
  if steps then
    return cjson.decode(steps)
  end
  local nothing = string.sub(account, 1, 6) == 'pools/' or string.sub(account, -6) == '/loans'
  return { 0, nothing and 0 or DEVICES_MAX }
end

-- A function from rising slots to the limit there, and the slot up to which it stays so.
local function limit_reader(steps)
  local i = 1
  return function(slot)
    while steps[i + 2] and steps[i + 2] <= slot do
      i = i + 2
    end
    return math.min(steps[i + 1], DEVICES_MAX), steps[i + 2] or math.huge
  end
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

-- Adds `sign` times the holds to `net`: account -> slot -> change of the level from that slot on.
function books.add(net, holds, sign)
  local entries = cjson.decode(holds)
  for i = 1, #entries, 4 do
    local account, first, stop, devices = entries[i], entries[i + 1], entries[i + 2], sign * entries[i + 3]
    local changes = net[account]
    if not changes then
      changes = {}
      net[account] = changes
    end
    changes[first] = (changes[first] or 0) + devices
    changes[stop] = (changes[stop] or 0) - devices
  end
end

-- Whether `net` takes more from any account in any slot.
function books.gains(net)
  for _, changes in pairs(net) do
    local level = 0
    for _, slot in ipairs(sorted_keys(changes)) do
      level = level + changes[slot]
      if level > 0 then
        return true
      end
    end
  end
  return false
end

-- Calls a command on a key with all the arguments, if there are any.
local function call_with(command, key, args)
  for first = 1, #args, BATCH do
    redis.call(command, key, unpack(args, first, math.min(#args, first + BATCH - 1)))
  end
end

-- How so many numbers are packed.
local function layout(count)
  return '<' .. string.rep('i4', count)
end

-- A chunk: packed as it was, and what its entries from `low` on have become since. Most claims touch few entries, so
-- only those are unpacked.
local function load_chunk(m, field)
  local packed = redis.call('HGET', m.keys.granted, field)
  return { packed = packed or ZEROS, new = not packed, low = 1, levels = {} }
end

-- The chunk packed as it is now.
local function pack_chunk(chunk)
  local low, count = chunk.low, #chunk.levels
  local between = struct.pack(layout(count), unpack(chunk.levels))
  return string.sub(chunk.packed, 1, 4 * low - 4) .. between .. string.sub(chunk.packed, 4 * (low + count) - 3)
end

-- The chunk's levels, of which those of the entries first .. last are there, and the entry before their first. All are
-- unpacked once more are wanted than the first time.
local function unpack_chunk(chunk, first, last)
  local count = #chunk.levels
  if first < chunk.low or chunk.low + count <= last then
    if count > 0 then
      chunk.packed, first, last = pack_chunk(chunk), 1, CHUNK_SLOTS
    end
    chunk.low, chunk.levels = first, { struct.unpack(layout(last - first + 1), chunk.packed, 4 * first - 3) }
    chunk.levels[last - first + 2] = nil -- where unpacking ended
  end
  return chunk.levels, chunk.low - 1
end

-- Adds `level` to the slots first .. stop-1 of staged chunks, unless this is only a `try`; returns the refusal if one
-- of them cannot take it.
local function stage_run(m, staged, account, first, stop, level, from_slot, limit_at, try)
  local slot, limit, changes_at = first, DEVICES_MAX, level > 0 and math.max(first, from_slot) or math.huge
  while slot < stop do
    local number = math.floor(slot / CHUNK_SLOTS)
    local field = account .. '|' .. number
    local chunk = staged[field] or load_chunk(m, field)
    staged[field] = chunk
    local base, chunk_end = number * CHUNK_SLOTS - 1, math.min(stop, (number + 1) * CHUNK_SLOTS)
    local levels, before = unpack_chunk(chunk, slot - base, chunk_end - 1 - base)
    base = base + before
    for i = slot - base, chunk_end - 1 - base do
      local granted = levels[i] + level
      if i + base >= changes_at then
        limit, changes_at = limit_at(i + base)
      end
      if granted > limit and level > 0 then
        return { 'OVERCOMMIT', account, market.digits(i + base), market.digits(granted - limit) }
      elseif granted < 0 then
        return { 'DAMAGED', account .. ' would have lent less than nothing in slot ' .. (i + base) }
      end
      if not try then
        levels[i] = granted
      end
    end
    slot = chunk_end
  end
end

local function stage_net(m, staged, net, from_slot, try)
  for _, account in ipairs(sorted_keys(net)) do
    local changes, level = net[account], 0
    local limit_at = limit_reader(limit_of(account, redis.call('HGET', m.keys.limits, account)))
    local slots = sorted_keys(changes)
    for i = 1, #slots - 1 do
      level = level + changes[slots[i]]
      if level ~= 0 then
        local first, stop = slots[i], slots[i + 1]
        local refusal = stage_run(m, staged, account, first, stop, level, from_slot, limit_at, try)
        if refusal then
          return refusal
        end
      end
    end
  end
end

-- What `net` would make of the books: chunks to write, or nil and a refusal. Writes nothing. From `from_slot` on no
-- account may lend more than its limit where it lends more than before; earlier slots are only counted.
function books.stage(m, net, from_slot)
  local staged = {}
  local refusal = stage_net(m, staged, net, from_slot, false)
  if refusal then
    return nil, refusal
  end
  return staged
end

-- Stages `net` on top of what is staged already; returns the refusal, and nothing has changed, if it does not fit.
function books.stage_more(m, staged, net, from_slot)
  local refusal = stage_net(m, staged, net, from_slot, true)
  if not refusal then
    stage_net(m, staged, net, from_slot, false)
  end
  return refusal
end

-- Writes what was staged.
function books.write(m, staged)
  local to_set, to_drop, accounts = {}, {}, {}
  for field, chunk in pairs(staged) do
    local packed = pack_chunk(chunk)
    if packed == ZEROS then
      to_drop[#to_drop + 1] = field
    else
      to_set[#to_set + 1] = field
      to_set[#to_set + 1] = packed
      if chunk.new then
        accounts[#accounts + 1] = string.match(field, '^(.*)|')
      end
    end
  end
  call_with('HSET', m.keys.granted, to_set)
  call_with('HDEL', m.keys.granted, to_drop)
  call_with('SADD', m.keys.accounts, accounts)
end

-- Packed int32 of one account over the slots first .. stop-1.
function books.read(m, account, first, stop)
  local parts = {}
  local first_chunk, last_chunk = math.floor(first / CHUNK_SLOTS), math.floor((stop - 1) / CHUNK_SLOTS)
  for number = first_chunk, last_chunk do
    parts[#parts + 1] = redis.call('HGET', m.keys.granted, account .. '|' .. number) or ZEROS
  end
  local skip = 4 * (first - first_chunk * CHUNK_SLOTS)
  return string.sub(table.concat(parts), skip + 1, skip + 4 * (stop - first))
end

-- Devices that an account has granted in `slot` beyond its limit there; negative: what is free.
function books.excess(m, account, slot)
  local limit_at = limit_reader(limit_of(account, redis.call('HGET', m.keys.limits, account)))
  return struct.unpack('<i4', books.read(m, account, slot, slot + 1)) - limit_at(slot)
end

-- Chunk numbers of every account that has granted anything from `from_slot` on: account -> sorted numbers.
local function chunks_from(m, from_slot)
  local numbers = {}
  for _, field in ipairs(redis.call('HKEYS', m.keys.granted)) do
    local account, number = string.match(field, '^(.*)|(%d+)$')
    number = tonumber(number)
    if (number + 1) * CHUNK_SLOTS > from_slot then
      numbers[account] = numbers[account] or {}
      table.insert(numbers[account], number)
    end
  end
  for _, list in pairs(numbers) do
    table.sort(list)
  end
  return numbers
end

-- JSON [[account, first, end, devices], ...]: each unbroken stretch from `from_slot` on where an account has granted
-- more than `limits` (account -> steps text) let it, with its worst slot.
function books.shortfalls(m, limits, from_slot)
  local found, numbers = {}, chunks_from(m, from_slot)
  for _, account in ipairs(sorted_keys(numbers)) do
    local limit_at = limit_reader(limit_of(account, limits[account]))
    local open
    for _, number in ipairs(numbers[account]) do
      local chunk = unpack_chunk(load_chunk(m, account .. '|' .. number), 1, CHUNK_SLOTS)
      local base = number * CHUNK_SLOTS - 1
      for i = math.max(1, from_slot - base), CHUNK_SLOTS do
        local slot = i + base
        local excess = chunk[i] > 0 and chunk[i] - limit_at(slot) or 0
        if excess > 0 and open and open[2] == slot then
          open[2], open[3] = slot + 1, math.max(open[3], excess)
        elseif excess > 0 then
          open = { slot, slot + 1, excess, account }
          found[#found + 1] = open
        end
      end
    end
  end
  local parts = {}
  for i, s in ipairs(found) do
    parts[i] = string.format('[%s,%.0f,%.0f,%.0f]', cjson.encode(s[4]), s[1], s[2], s[3])
  end
  return '[' .. table.concat(parts, ',') .. ']'
end
