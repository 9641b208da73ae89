-- commit: puts a plan into force. Rows whose claim is no longer live at the revision that the planner saw are skipped.
-- If the rest does not fit, claims that had no capacity left and gain some are skipped where others have it by now.
-- KEYS  1 prefix of the market's keys
-- ARGV  1 log events kept, 2 at (Unix s), 3 first slot whose limit counts, 4 fence incarnation, 5 fence epoch,
--       6 plan body, 7 packed bid prices ("" leaves those in force), then for each claim: key, revision that it
--       replaces, "2" if it stays live and leased, "1" if it stays live, holds, body
-- Reply OK revision, skipped keys | FENCED present epoch | OVERCOMMIT account, slot, devices too many | MISSING

local ROW = 5
local FIRST_ROW = 8
local BATCH = 1000 -- fields of one HMGET or HSET: unpack's results must fit Lua's stack

-- Calls `visit(row, stored)` for each row, `stored` being its live claim as it is now or false.
local function each_row(m, args, visit)
  for start = FIRST_ROW, #args, BATCH * ROW do
    local names = {}
    for row = start, math.min(start + BATCH * ROW, #args + 1) - 1, ROW do
      names[#names + 1] = args[row]
    end
    for i, stored in ipairs(redis.call('HMGET', m.keys.live, unpack(names))) do
      visit(start + (i - 1) * ROW, stored)
    end
  end
end

-- Rows to take, keys of the others, what each row's claim holds now, and what taking them all changes in the books.
local function sort_rows(m, args)
  local taken, skipped, held_by, net = {}, {}, {}, {}
  each_row(m, args, function(row, stored)
    local revision, held
    if stored then
      revision, held = claims.head(stored)
    end
    if not revision or revision ~= args[row + 1] then
      skipped[#skipped + 1] = args[row]
      return
    end
    taken[#taken + 1] = row
    held_by[row] = held
    if held ~= args[row + 3] then
      books.add(net, held, -1)
      books.add(net, args[row + 3], 1)
    end
  end)
  return taken, skipped, held_by, net
end

-- Whether any of these holds is not over by a slot.
local function reaches(holds, slot)
  if holds == '[]' then
    return false
  end
  local entries = cjson.decode(holds)
  for i = 3, #entries, 4 do
    if entries[i] > slot then
      return true
    end
  end
  return false
end

-- Taken rows and staged books when what holds capacity already comes first, all of it together, and then the others one
-- by one as far as they fit, the keys of those who do not added to `skipped`; nil and a refusal when not even the first
-- do, or nothing is left.
local function stage_apart(m, args, rows, skipped, held_by, from_slot)
  local taken, newcomers, net = {}, {}, {}
  for _, row in ipairs(rows) do
    if args[row + 3] ~= '[]' and not reaches(held_by[row], from_slot) then
      newcomers[#newcomers + 1] = row
    else
      taken[#taken + 1] = row
      books.add(net, held_by[row], -1)
      books.add(net, args[row + 3], 1)
    end
  end
  local staged, refusal = books.stage(m, net, from_slot)
  if not staged then
    return nil, refusal
  end
  local first_refusal
  for _, row in ipairs(newcomers) do
    local own = {}
    books.add(own, held_by[row], -1)
    books.add(own, args[row + 3], 1)
    refusal = books.stage_more(m, staged, own, from_slot)
    first_refusal = first_refusal or refusal
    if not refusal then
      taken[#taken + 1] = row
    elseif refusal[1] == 'OVERCOMMIT' then
      skipped[#skipped + 1] = args[row]
    else
      return nil, refusal
    end
  end
  if #taken == 0 then
    return nil, first_refusal
  end
  table.sort(taken) -- in the order of the plan
  return taken, staged
end

local function write_rows(m, args, taken, revision)
  local pairs_to_set = {}
  for _, row in ipairs(taken) do
    local key, stored = args[row], claims.text(revision, args[row + 3], args[row + 4])
    if args[row + 2] ~= '0' then
      pairs_to_set[#pairs_to_set + 1] = key
      pairs_to_set[#pairs_to_set + 1] = stored
    else
      claims.write(m, key, false, stored)
    end
    if #pairs_to_set == 2 * BATCH then
      redis.call('HSET', m.keys.live, unpack(pairs_to_set))
      pairs_to_set = {}
    end
  end
  if #pairs_to_set > 0 then
    redis.call('HSET', m.keys.live, unpack(pairs_to_set))
  end
end

-- Ends the leases of claims that are no longer leased; what their holders may still use counts until these would have
-- ended.
local function end_leases(m, args, taken, slot)
  if redis.call('HLEN', m.keys.leases) == 0 then
    return
  end
  for _, row in ipairs(taken) do
    if args[row + 2] ~= '2' then
      leases.displace(m, args[row], slot)
    end
  end
end

verb('commit', function(keys, args)
  local m, missing = market.open(keys[1])
  if not m then
    return missing
  end
  local log_events_max, at, from_slot, incarnation, epoch, plan, prices = unpack(args, 1, 7)
  local present_epoch = redis.call('HGET', m.keys.meta, 'epoch')
  if incarnation ~= m.incarnation or epoch ~= present_epoch then
    return market.reply(m, 'FENCED', present_epoch)
  end
  local taken, skipped, held_by, net = sort_rows(m, args)
  local staged, refusal = books.stage(m, net, tonumber(from_slot))
  if not staged and refusal[1] == 'OVERCOMMIT' then
    local fitting, outcome = stage_apart(m, args, taken, skipped, held_by, tonumber(from_slot))
    if fitting then
      taken, staged = fitting, outcome
    else
      refusal = outcome
    end
  end
  if not staged then
    return market.reply(m, unpack(refusal))
  end
  redis.call('ZCARD', m.keys.plans) -- fails here, before any write, if the key is of another type

  local bodies = {}
  for i, row in ipairs(taken) do
    bodies[i] = args[row + 4]
  end
  local rest = (#bodies > 0 and ',"claims":[' .. table.concat(bodies, ',') .. ']' or '')
    .. ',"plan":' .. plan .. ',"skipped":' .. #skipped
  local revision = market.record(m, 'PLANNED', at, rest, log_events_max)
  end_leases(m, args, taken, tonumber(from_slot))
  write_rows(m, args, taken, revision)
  books.write(m, staged)
  redis.call('ZADD', m.keys.plans, revision, revision .. '\n' .. #skipped .. '\n' .. plan)
  redis.call('ZREMRANGEBYRANK', m.keys.plans, 0, -101)
  if prices ~= '' then
    redis.call('SET', m.keys.prices, revision .. '\n' .. prices)
  end
  return market.reply(m, 'OK', revision, skipped)
end)
