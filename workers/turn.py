"""A worker's turn as one script: it tells what became of its jobs and claims what is due, each from whose turn it is.

The lock of a job holds the claim under which it was taken; who comes with another one changes nothing and is told so.
A turn that comes twice, because its answer was lost, is answered as it was the first time.
"""

from __future__ import annotations

from pipeline.events import lua_text
from pipeline.records.queue import LINES_LUA, LINGER, TRIES_SECONDS, WAKE_SUFFIX

MOST_DEATHS = 3
"""Workers that may be lost over a job before it is given up."""
ANSWERED = 60_000
"""Milliseconds for which a turn can be answered again."""
HISTORY_SECONDS = 7 * 86_400
"""How long the deaths of a job's workers are remembered."""
BUSIER = 10_000_000_000_000
"""What a taken slot counts among those who wait for a job, more than any clock: the least busy is served first."""
AT_ONCE = 100
"""Jobs of one kind that one turn moves into their lines."""

HEAD_LUA = """
local taken = 0
local function take()
  taken = taken + 1
  return ARGV[taken]
end

local worker, name, answered, number, lease = take(), take(), take(), take(), tonumber(take())
local free, ahead, waited, patience = tonumber(take()), tonumber(take()), tonumber(take()), tonumber(take())
local tidy, slots, known, grave = take() == '1', tonumber(take()), tonumber(take()), take() == '1'
local mark = name .. ' ' .. number
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number) return string.format('%.0f', number) end

-- A call with many words costs little more than one with a few; the stack of Lua takes no more than these.
local MOST = 1000
local function all(words, ...)
  for first = 1, #words, MOST do
    local call = {...}
    for place = first, math.min(first + MOST - 1, #words) do call[#call + 1] = words[place] end
    redis.call(unpack(call))
  end
end

local function values(keys)
  local found = {}
  for first = 1, #keys, MOST do
    local part = redis.call('MGET', unpack(keys, first, math.min(first + MOST - 1, #keys)))
    for place = 1, #part do found[first + place - 1] = part[place] end
  end
  return found
end
"""

SETTLE_LUA = f"""
local gone = {{}}

local function put_off(queue, id, due)
  redis.call('ZADD', queue, 'XX', due, id)
  redis.call('ZADD', queue .. ':later', due, id)
end

local function hold(queue, id)
  redis.call('PEXPIRE', lock(id), lease + {LINGER})
  redis.call('ZADD', queue, 'XX', text(now + lease), id)
  redis.call('ZADD', queue .. ':held', 'XX', text(now + lease), id)
end

local function bring_back(queue, id, due)
  redis.call('ZADD', queue, 'XX', due, id)
  redis.call('DECR', 'arq:retry:' .. id)
  stand(queue, id, due, redis.call('HGET', queue .. ':of', id) or owner(id))
  redis.call('LPUSH', queue .. '{WAKE_SUFFIX}', 1)
end

local done, spent = {{}}, {{}}
local function settle(holder, queue, id, claim, verdict, number)
  if holder ~= claim then
    if verdict == 'held' then gone[#gone + 1] = {{id, claim}} end
    return
  end
  if verdict == 'held' then return hold(queue, id) end
  if verdict == 'done' then
    done[queue] = done[queue] or {{}}
    table.insert(done[queue], id)
    for _, key in ipairs({{lock(id), 'arq:job:' .. id, 'arq:retry:' .. id}}) do spent[#spent + 1] = key end
    return
  end
  redis.call('DEL', lock(id))
  redis.call('ZREM', queue .. ':held', id)
  if not redis.call('ZSCORE', queue, id) then
    redis.call('HDEL', queue .. ':of', id)
  elseif verdict == 'later' then
    put_off(queue, id, text(now + number))
  else
    bring_back(queue, id, number)
  end
end

local fates, locks = cjson.decode(take()), {{}}
for i, fate in ipairs(fates) do locks[i] = lock(fate[2]) end
local holders = values(locks)
for i, fate in ipairs(fates) do settle(holders[i], unpack(fate)) end
all(spent, 'DEL')
for queue, ids in pairs(done) do
  all(ids, 'ZREM', queue)
  all(ids, 'ZREM', queue .. ':held')
  all(ids, 'HDEL', queue .. ':of')
end
"""

# A server that was away, or that nobody asked for a while, gives those who live as long again to renew their leases.
PROMOTE_LUA = f"""
local function truce()
  local row = redis.call('HMGET', P .. 'turns', 'last', 'truce')
  local silence = now - (row[1] or now)
  local till = tonumber(row[2] or 0)
  if silence > lease / 2 then till = now + math.min(silence, lease) end
  if not row[1] or silence > lease / 20 then
    redis.call('HSET', P .. 'turns', 'last', text(now), 'truce', text(till))
  end
  return till > now
end

local paused = {{}}
if free + ahead > 0 then
  for _, name in ipairs(redis.call('SMEMBERS', P .. 'paused')) do paused[P .. 'queue:' .. name] = true end
  if leaves(worker) then free, ahead = 0, 0 end
end

-- Whether the worker died before it told that it knows of the job, which then was not the end of it. Such a job comes
-- back into its line and is not handed over again, so the next death counts.
local function unread(id, claim)
  local worker, number = string.match(claim, '^(%S+) .* h(%d+)$')
  if not worker then return false end
  for _, row in ipairs(redis.call('LRANGE', P .. 'handed:' .. worker, 0, -1)) do
    if cjson.decode(row)[1] == number then return redis.call('LREM', P .. 'handed:' .. worker, 1, row) end
  end
  return false
end

local function bury(id)
  local claim = redis.call('GET', lock(id)) or ''
  -- It is a try all the same: who never told may be at work yet, and every try has a folder of its own.
  if unread(id, claim) then return redis.call('DEL', lock(id)) end
  local worker, host, pid = string.match(claim, '^(%S+) (%S+) (%d+) ')
  local key = P .. 'holds:' .. id
  redis.call('RPUSH', key, cjson.encode({{worker = worker or '', host = host or '', pid = tonumber(pid or 0), at = now,
    error = 'worker lost'}}))
  redis.call('EXPIRE', key, {HISTORY_SECONDS})
  redis.call('HINCRBY', P .. 'counters', 'jobs_lost', 1)
  redis.call('DEL', lock(id))
end

local function let_in(queue, id)
  local due = redis.call('ZSCORE', queue, id)
  if not due then return redis.call('HDEL', queue .. ':of', id) end
  if tonumber(due) > now then return redis.call('ZADD', queue .. ':later', due, id) end
  stand(queue, id, due, redis.call('HGET', queue .. ':of', id) or owner(id))
  redis.call('LPUSH', queue .. '{WAKE_SUFFIX}', 1)
end

local function over(index)
  return redis.call('ZRANGEBYSCORE', index, '-inf', text(now), 'LIMIT', 0, {AT_ONCE})
end

local patient = truce()
local function promote(queue)
  for _, id in ipairs(over(queue .. ':later')) do
    redis.call('ZREM', queue .. ':later', id)
    let_in(queue, id)
  end
  if patient then return end
  for _, id in ipairs(over(queue .. ':held')) do
    redis.call('ZREM', queue .. ':held', id)
    if redis.call('ZSCORE', queue, id) then bury(id) end
    let_in(queue, id)
  end
end
"""

# What others put into the sorted set is found by their number, and then where it usually is: at one of the ends or
# about now. A long queue is walked through beside.
ADOPT_LUA = f"""
local function adopt_one(queue, id, due)
  if redis.call('HSETNX', queue .. ':of', id, '') == 0 then return end
  local project = owner(id)
  redis.call('HSET', queue .. ':of', id, project)
  if tonumber(due) <= now then return stand(queue, id, due, project) end
  redis.call('ZADD', queue .. ':later', due, id)
end

local function adopt_all(queue, found)
  for i = 1, #found, 2 do adopt_one(queue, found[i], found[i + 1]) end
end

local function adopt(queue, size)
  local of = queue .. ':of'
  local function strangers() return size > redis.call('HLEN', of) end
  if not strangers() then return end
  adopt_all(queue, redis.call('ZREVRANGEBYSCORE', queue, text(now), '-inf', 'WITHSCORES', 'LIMIT', 0, {AT_ONCE}))
  adopt_all(queue, redis.call('ZRANGEBYSCORE', queue, '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, {AT_ONCE}))
  if not strangers() then return end
  adopt_all(queue, redis.call('ZRANGE', queue, 0, {AT_ONCE - 1}, 'WITHSCORES'))
  local place = redis.call('HGET', P .. 'turns', queue) or '0'
  local step = redis.call('ZSCAN', queue, place, 'COUNT', {AT_ONCE})
  redis.call('HSET', P .. 'turns', queue, step[1])
  adopt_all(queue, step[2])
end

-- What others took out of the sorted set is forgotten.
local function forget(queue)
  local field = queue .. ':of'
  local step = redis.call('HSCAN', field, redis.call('HGET', P .. 'turns', field) or '0', 'COUNT', {AT_ONCE})
  redis.call('HSET', P .. 'turns', field, step[1])
  for i = 1, #step[2], 2 do
    if not redis.call('ZSCORE', queue, step[2][i]) then dequeue(queue, step[2][i]) end
  end
end
"""

CLAIM_LUA = f"""
local claimed, leased = {{}}, {{}}

-- Jobs that are given up with the next death are taken one at a time: who of them was only near is then not there.
local function put_back(queue, id)
  redis.call('DEL', lock(id))
  redis.call('DECR', 'arq:retry:' .. id)
  redis.call('ZADD', queue .. ':later', text(now + 1000), id)
  return false
end

-- A job that a stock worker holds is looked at again in a second.
local function claim(queue, id, due, there)
  if not there then
    redis.call('HDEL', queue .. ':of', id)
    return false
  end
  if not redis.call('SET', lock(id), mark, 'NX', 'PX', lease + {LINGER}) then
    redis.call('ZADD', queue .. ':later', text(now + 1000), id)
    return false
  end
  local tries = 1
  if not redis.call('SET', 'arq:retry:' .. id, 1, 'NX', 'EX', {TRIES_SECONDS}) then
    tries = redis.call('INCR', 'arq:retry:' .. id)
    redis.call('EXPIRE', 'arq:retry:' .. id, {TRIES_SECONDS})
  end
  if tries > 1 and redis.call('LLEN', P .. 'holds:' .. id) == {MOST_DEATHS - 1} then
    if grave then return put_back(queue, id) end
    grave = true
  end
  leased[#leased + 1] = text(now + lease)
  leased[#leased + 1] = id
  claimed[#claimed + 1] = {{queue, id, due, tries}}
  return true
end

-- The first jobs of a project that are to be had, or nothing.
local function front(queue, project, share, before, most)
  local found = redis.call('ZRANGEBYSCORE', line(queue, project), '-inf', text(before), 'WITHSCORES', 'LIMIT', 0, most)
  if #found == 0 then return nil end
  local ids, dues = {{}}, {{}}
  for i = 1, #found, 2 do ids[#ids + 1], dues[#dues + 1] = found[i], found[i + 1] end
  local there = redis.call('ZMSCORE', queue, unpack(ids))
  return {{project = project, share = tonumber(share), ids = ids, dues = dues, there = there, passed = 0, served = 0,
    whole = #ids < most}}
end

local function least_of(fronts)
  local least
  for place, found in ipairs(fronts) do
    if found.passed == #found.ids then
      if not found.whole then found.ends = true end
      if found.whole then found.share = math.huge end
    end
    if not least or found.share < least.share then least = found end
  end
  return least
end

-- From whose share is the least, until a line must be looked at again; what was taken leaves the lines at once.
local function serve(queue, fronts, room)
  local clock
  while room > 0 do
    local least = least_of(fronts)
    if least.share == math.huge or least.ends then break end
    local place = least.passed + 1
    least.passed = place
    if claim(queue, least.ids[place], least.dues[place], least.there[place]) then
      room, clock = room - 1, least.share
      least.share, least.served = least.share + 1, least.served + 1
    end
  end
  for _, found in ipairs(fronts) do
    local taken = {{unpack(found.ids, 1, found.passed)}}
    all(taken, 'ZREM', line(queue, found.project))
    if found.served > 0 then redis.call('ZINCRBY', queue .. ':lines', found.served, found.project) end
  end
  if clock then redis.call('SET', queue .. ':clock', clock) end
  return room
end

-- From the line of the project that had the least, passing over those who have nothing from before.
local function claim_due(queue, before, room)
  if room <= 0 or paused[queue] then return room end
  local lines, passed, over = queue .. ':lines', {{}}, 0
  leased = {{}}
  while room > 0 do
    local window = math.min(room + over, MOST)
    local rows, fronts = redis.call('ZRANGE', lines, 0, window - 1, 'WITHSCORES'), {{}}
    local most = math.min(MOST, math.ceil(room / math.max(1, #rows / 2 - over)))
    for i = 1, #rows, 2 do
      if not passed[rows[i]] then
        local found = front(queue, rows[i], rows[i + 1], before, most)
        if found then
          fronts[#fronts + 1] = found
        elseif redis.call('EXISTS', line(queue, rows[i])) == 0 then
          redis.call('ZREM', lines, rows[i])
        else
          passed[rows[i]], over = true, over + 1
        end
      end
    end
    if #fronts > 0 then room = serve(queue, fronts, room) elseif #rows / 2 < window then break end
  end
  all(leased, 'ZADD', queue, 'XX')
  all(leased, 'ZADD', queue .. ':held')
  return room
end
"""

# What was handed to this worker whose word may not have reached it: all beyond the last it knows of.
HANDED_LUA = """
local handed, unknown = P .. 'handed:' .. worker, {}
for _, row in ipairs(redis.call('LRANGE', handed, 0, -1)) do
  local number, _, id, _, _, claim = unpack(cjson.decode(row))
  if tonumber(number) <= known then
    redis.call('LPOP', handed)
  elseif redis.call('GET', lock(id)) == claim then
    unknown[#unknown + 1], free = row, math.max(0, free - 1)
  end
end
"""

OFFER_LUA = f"""
local longest = patience
local function offer()
  if slots == 0 or free == 0 then return redis.call('DEL', P .. 'offer:' .. worker) end
  redis.call('SET', P .. 'offer:' .. worker, text(lease) .. ' ' .. name, 'PX', 2 * longest)
  local rank = text((slots - free) * {BUSIER} - now)
  for _, queue in ipairs(KEYS) do redis.call('ZADD', queue .. ':offers', rank, worker) end
end
"""

ANSWER_LUA = f"""
local again = redis.call('HGET', answered, 'number') == number
if again then
  claimed, free = cjson.decode(redis.call('HGET', answered, 'claimed')), 0
elseif free + ahead > 0 then
  local busy = {{}}
  for _, queue in ipairs(KEYS) do
    if tidy then forget(queue) end
    local size = redis.call('ZCARD', queue)
    if size > 0 then
      adopt(queue, size)
      promote(queue)
      busy[#busy + 1] = queue
    else
      redis.call('DEL', queue .. ':lines')
    end
  end
  for _, queue in ipairs(busy) do free = claim_due(queue, now, free) end
  for _, queue in ipairs(busy) do ahead = claim_due(queue, now - waited, ahead) end
  if #claimed > 0 then
    redis.call('HSET', answered, 'number', number, 'claimed', cjson.encode(claimed))
    redis.call('PEXPIRE', answered, {ANSWERED})
  end
  if free > 0 then
    for _, queue in ipairs(KEYS) do redis.call('DEL', queue .. '{WAKE_SUFFIX}') end
    for _, queue in ipairs(busy) do
      local coming = redis.call('ZRANGEBYSCORE', queue, '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      if coming[2] then patience = math.min(patience, coming[2] - now) end
    end
  end
end

local function history(id, tries)
  if tries < 2 then return {{}} end
  return redis.call('LRANGE', P .. 'holds:' .. id, 0, -1)
end

local bodies, holders, rows = {{}}, {{}}, {{}}
for i, found in ipairs(claimed) do bodies[i], holders[i] = 'arq:job:' .. found[2], again and lock(found[2]) end
bodies, holders = values(bodies), again and values(holders)
for i, found in ipairs(claimed) do
  if not again or holders[i] == mark then
    local queue, id, due, tries = unpack(found)
    rows[#rows + 1] = {{queue, id, due, tries, bodies[i], mark, history(id, tries)}}
  end
end
offer()
return {{patience, rows, gone, unknown}}
"""


def turn_script(prefix: str) -> str:
    """The script for the queues under this prefix; their keys are its KEYS, the first preferred."""
    parts = (HEAD_LUA, LINES_LUA, SETTLE_LUA, PROMOTE_LUA, ADOPT_LUA, HANDED_LUA, CLAIM_LUA, OFFER_LUA, ANSWER_LUA)
    return f"local P = {lua_text(prefix)}\n" + "".join(parts)
