"""How a run waits, as scripts: for files that are fetched, for those somebody is to give it, and while it is paused.

A run that is paused while a worker is at it rests behind the step that is being done; the worker says when.
"""

from __future__ import annotations

from pipeline.records.queue import ENQUEUE_LUA, LINES_LUA
from pipeline.records.shape import RUN_LUA

GOING_ON_LUA = """
-- To be called when something came that a waiting run waits for.
local function go_on(run, at, place, slip)
  if run.paused or hungry(run.id) then
    -- What is fetched is looked after since it was begun, whatever came meanwhile.
    local index, stands = P .. 'statuses:waiting', rest_place(run, place)
    if stands == FAR then redis.call('ZADD', index, FAR, run.id)
    else redis.call('ZADD', index, 'LT', stands, run.id) end
    return
  end
  move(run, 'queued', {'files', given(run.id)}, place)
  tell('run.queued', run, at)
  pcall(enqueue, slip)
end
"""

RESTING_LUA = """
-- The job goes wholly, its claim too: whoever holds it has nothing more to say, and a new one can come at once. That
-- it was begun is not counted as a try.
local function drop_job(run)
  local job = 'run:' .. run.id .. ':' .. run.attempt
  dequeue(P .. 'queue:' .. run.queue, job)
  if redis.call('DEL', lock(job)) == 1 and redis.call('DECR', 'arq:retry:' .. job) < 1 then
    redis.call('DEL', 'arq:retry:' .. job)
  end
  redis.call('DEL', 'arq:job:' .. job)
end

local function rest(run, at)
  drop_job(run)
  move(run, 'waiting', {}, FAR)
  tell('run.paused', run, at)
end
"""

FEED_LUA = (
    RUN_LUA
    + ENQUEUE_LUA
    + GOING_ON_LUA
    + """
local id, attempt, fetch, file, at, place, slip = take(), take(), take(), take(), take(), take(), take_slip()
local run, key = turn(id, attempt, '', {waiting = true}), P .. 'run:' .. id
if not run then return false end
redis.call('HSET', key, 'fed:' .. fetch, file)
go_on(run, at, place, slip)
return whole(id)
"""
)

# What is given a second time changes nothing, whatever became of the run.
GIVE_LUA = (
    RUN_LUA
    + ENQUEUE_LUA
    + GOING_ON_LUA
    + """
local id, attempt, node, files, remotes = take(), take(), take(), take(), {}
for i = 1, tonumber(take()) do remotes[i] = {id = take(), text = take()} end
local at, place, slip = take(), take(), take_slip()
local run, key, name = known(id), P .. 'run:' .. id, 'input:' .. node
if not run then return 'missing' end
local came, awaits = redis.call('HGET', key, 'fed:' .. name), redis.call('HGET', key, 'awaits') or ''
if came == files then return whole(id) end
if ended[run.status] then return run.status end
local announced = string.find(' ' .. awaits .. ' ', ' ' .. name .. ' ', 1, true)
if came or not announced or run.attempt ~= attempt or run.status ~= 'waiting' then return 'sated' end
redis.call('HSET', key, 'fed:' .. name, files)
for _, remote in ipairs(remotes) do
  awaits = awaits .. ' ' .. remote.id
  redis.call('HSET', key, 'fetch:' .. remote.id, remote.text, 'awaits', awaits)
end
tell('run.fed', run, at, {input = node})
go_on(run, at, place, slip)
return whole(id)
"""
)

PAUSE_RUN_LUA = (
    RUN_LUA
    + LINES_LUA
    + RESTING_LUA
    + """
local id, at = take(), take()
local run = known(id)
if not run then return 'missing' end
if ended[run.status] then return run.status end
if run.paused then return whole(id) end
redis.call('HSET', P .. 'run:' .. id, 'paused', at)
run.paused = at
if run.status == 'queued' then
  rest(run, at)
elseif run.status == 'waiting' then
  redis.call('ZREM', P .. 'unfed', id)
  tell('run.paused', run, at)
else
  redis.call('PUBLISH', P .. 'pausing', id)  -- to its worker, which does not ask
end
return whole(id)
"""
)

# One that is still running goes on as if nothing had been asked.
RESUME_RUN_LUA = (
    RUN_LUA
    + """
local id, at, place = take(), take(), take()
local run, key = known(id), P .. 'run:' .. id
if not run then return 'missing' end
if ended[run.status] then return run.status end
if not run.paused then return 'going' end
-- First what a server that is full refuses: a step that has begun is not refused any more.
redis.call('HSET', key, 'resumed', at)
redis.call('HDEL', key, 'paused')
run.paused = nil
if run.status == 'waiting' then
  tell('run.resumed', run, at)
  if hungry(id) then
    redis.call('ZADD', P .. 'statuses:waiting', rest_place(run, place), id)
  else
    move(run, 'queued', {'files', given(id)}, place)
    tell('run.queued', run, at)
  end
end
return whole(id)
"""
)

UNFED_LUA = (
    RUN_LUA
    + """
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'unfed', '-inf', take(), 'LIMIT', 0, take())) do
  rows[#rows + 1] = whole(id)
end
return rows
"""
)

STARVE_LUA = (
    RUN_LUA
    + """
local id, attempt, before, problem, at = take(), take(), tonumber(take()), take(), take()
local run, since = turn(id, attempt, '', {waiting = true}), redis.call('ZSCORE', P .. 'unfed', id)
if not run or not since or tonumber(since) > before then return false end
series.failed(run, problem)
move(run, 'failed', {'error', problem, 'finished_at', at})
tell('run.failed', run, at, {error = cjson.decode(problem)})
return whole(id)
"""
)
