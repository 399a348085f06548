"""How a run gets into the queue, in whose turn it leaves it, and who may take from it.

Every queue is laid out as arq does it, so that stock tools can read it: all its jobs in one sorted set. Beside it each
project has a line of its own, and the projects a share each, so that a worker takes from the one that had the least.
An idle worker offers itself and is handed the next job by whoever enqueues it; when none does, a word on the queue's
wake list tells the first that looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from pipeline.records.base import Room

MOST_WAKES = 1000
"""Words kept for workers; while there are more than nobody waits for them."""
WAKE_SUFFIX = ":wake"
WOKEN = 100
"""Sleeping workers that are told when a queue goes on."""
TRIES_SECONDS = 88_400
"""How long arq remembers how often a job was begun."""
LINGER = 600_000
"""Milliseconds for which it is known whose job it was after the lease ended, if nobody takes it over."""

# Beside the sorted set of a queue: `:of` whose every job in it is, `:line:<project>` its jobs that are to be had,
# `:lines` the projects by the shares they had, `:clock` the share of the last one served, `:held` jobs by the end of
# their lease, `:later` by the millisecond they are due, `:offers` the workers that wait for one, the least busy first.
# Of such a worker: `offer:<worker>` its lease and name, `handed:<worker>` the jobs it has not yet told it knows of, and
# `hands:<worker>` the list it blocks on.
LINES_LUA = """
local function line(queue, project) return queue .. ':line:' .. project end
local function lock(id) return 'arq:in-progress:' .. id end

-- Whether a worker is to leave; a reader beside its first bears its id and a word behind a colon.
local function leaves(worker) return redis.call('SISMEMBER', P .. 'draining', string.match(worker, '^[^:]*')) == 1 end

-- Whose run it is, as a stock producer does not say it.
local function owner(id)
  local run = string.match(id, '^run:(.+):%d+$')
  return run and redis.call('HGET', P .. 'run:' .. run, 'project') or ''
end

-- Who comes anew begins with the share of the one served last: it gets nothing for the time it was away.
local function stand(queue, id, due, project)
  redis.call('ZADD', line(queue, project), due, id)
  redis.call('ZADD', queue .. ':lines', 'NX', redis.call('GET', queue .. ':clock') or 0, project)
end

local function dequeue(queue, id)
  local project = redis.call('HGET', queue .. ':of', id)
  if project then redis.call('ZREM', line(queue, project), id) end
  redis.call('HDEL', queue .. ':of', id)
  redis.call('ZREM', queue .. ':held', id)
  redis.call('ZREM', queue .. ':later', id)
  return redis.call('ZREM', queue, id)
end
"""

FENCE_LUA = """
-- Whether the job of this attempt is held under this claim; who names none is not asked.
local function holds(id, attempt, claim)
  return claim == '' or redis.call('GET', 'arq:in-progress:run:' .. id .. ':' .. attempt) == claim
end
"""

ENQUEUE_LUA = (
    LINES_LUA
    + f"""
local function take_slip()
  local queue = take()
  if queue == '' then return nil end
  return {{queue = queue, id = take(), body = take(), life = take(), project = take()}}
end

-- The worker that waits for a job of this queue and has the least to do, and its lease and name.
local function offered(queue)
  while true do
    local worker = redis.call('ZPOPMIN', queue .. ':offers')[1]
    if not worker then return nil end
    local offer = redis.call('GETDEL', P .. 'offer:' .. worker)
    if offer and not leaves(worker) then
      return worker, string.match(offer, '^(%d+) (.+)$')
    end
  end
end

-- Grows with the clock: a server that forgot its last second must give none for new that a worker knows.
local function next_hand()
  local time, last = redis.call('TIME'), redis.call('GET', P .. 'hands') or 0
  local number = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', P .. 'hands', number)
  return number
end

-- The job is claimed in the name of a worker that waits for one, if there is any. An offer is good for one job; a job
-- that was begun before goes through its line, where its history is known.
local function hand(slip, due, project)
  if redis.call('EXISTS', slip.queue .. ':offers') == 0 then return false end
  if redis.call('EXISTS', lock(slip.id), 'arq:retry:' .. slip.id) > 0 then return false end
  if redis.call('SISMEMBER', P .. 'paused', string.sub(slip.queue, #P + 7)) == 1 then return false end
  local worker, lease, name = offered(slip.queue)
  if not worker then return false end
  local number = next_hand()
  local mark, till = name .. ' h' .. number, string.format('%.0f', due + lease)
  redis.call('SET', lock(slip.id), mark, 'PX', lease + {LINGER})
  redis.call('SET', 'arq:retry:' .. slip.id, 1, 'EX', {TRIES_SECONDS})
  redis.call('ZADD', slip.queue, till, slip.id)
  redis.call('ZADD', slip.queue .. ':held', till, slip.id)
  redis.call('ZADD', slip.queue .. ':lines', 'NX', redis.call('GET', slip.queue .. ':clock') or 0, project)
  redis.call('ZINCRBY', slip.queue .. ':lines', 1, project)
  local row = cjson.encode({{number, slip.queue, slip.id, due, slip.body, mark}})
  redis.call('RPUSH', P .. 'handed:' .. worker, row)
  redis.call('PEXPIRE', P .. 'handed:' .. worker, lease + {LINGER})
  -- In the order of their numbers: whoever reads one takes those below it for known.
  redis.call('RPUSH', P .. 'hands:' .. worker, row)
  redis.call('PEXPIRE', P .. 'hands:' .. worker, lease)
  return true
end

-- The body lies under `arq:job:<id>`, the id in the queue's sorted set by the millisecond it is due. A body that no
-- queue knows of is what a fault left behind.
local function enqueue(slip)
  local key = 'arq:job:' .. slip.id
  if redis.call('EXISTS', 'arq:result:' .. slip.id) == 1 then return 0 end
  if redis.call('EXISTS', key) == 1 and redis.call('ZSCORE', slip.queue, slip.id) then return 0 end
  local time = redis.call('TIME')
  local due = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
  redis.call('PSETEX', key, slip.life, slip.body)
  local project = slip.project or ''
  if project == '' then project = owner(slip.id) end
  redis.call('HSET', slip.queue .. ':of', slip.id, project)
  if hand(slip, due, project) then return 1 end
  redis.call('ZADD', slip.queue, due, slip.id)
  stand(slip.queue, slip.id, due, project)
  redis.call('LPUSH', slip.queue .. '{WAKE_SUFFIX}', 1)
  redis.call('LTRIM', slip.queue .. '{WAKE_SUFFIX}', 0, {MOST_WAKES - 1})
  return 1
end
"""
)

PAUSE_LUA = "redis.call('SADD', P .. 'paused', take())"

RESUME_LUA = f"""
local name = take()
local queue = P .. 'queue:' .. name
redis.call('SREM', P .. 'paused', name)
for _ = 1, math.min(redis.call('ZCARD', queue), {WOKEN}) do redis.call('LPUSH', queue .. '{WAKE_SUFFIX}', 1) end
"""

GATES_LUA = "return {redis.call('SMEMBERS', P .. 'paused'), redis.call('SMEMBERS', P .. 'draining')}"

LOAD_LUA = """
local queue, project, time = P .. 'queue:' .. take(), take(), redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due, after = string.format('%.0f', now), string.format('(%.0f', now)
local head = redis.call('ZRANGEBYSCORE', queue, '-inf', due, 'WITHSCORES', 'LIMIT', 0, 1)
local own = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':held', after, '+inf')) do
  if redis.call('HGET', queue .. ':of', id) == project then own = own + 1 end
end
return {
  redis.call('ZCOUNT', queue, '-inf', due), redis.call('ZCOUNT', queue .. ':later', after, '+inf'),
  redis.call('ZCOUNT', queue .. ':held', after, '+inf'), head[2] and now - head[2] or 0,
  redis.call('ZCOUNT', queue .. ':line:' .. project, '-inf', due), own,
}
"""

HOLDS_LUA = "return redis.call('LRANGE', P .. 'holds:' .. take(), 0, -1)"

LOST_LUA = "return redis.call('HGET', P .. 'counters', 'jobs_lost')"


class Slip(NamedTuple):
    """What the queue is told of a run: key of the queue, a name, what its worker is given, milliseconds, the project.

    Without a project the run's record is asked.
    """

    queue: str
    id: str
    body: bytes
    life: int
    project: str = ""


class Death(NamedTuple):
    """A worker that was lost while it held a job: its id, host and pid, and when the job was taken from it."""

    worker: str
    host: str
    pid: int
    at: datetime
    error: str = "worker lost"

    @classmethod
    def read(cls, text: bytes) -> Death:
        """As the history of a job keeps it."""
        fields = orjson.loads(text)
        return cls(fields["worker"], fields["host"], fields["pid"], datetime.fromtimestamp(fields["at"] / 1000, UTC))


class Load(NamedTuple):
    """Jobs of a queue: due and not begun, due later, under way; the milliseconds that the first of the due ones waits.

    Behind them those of one project that are due or under way.
    """

    queued: int
    delayed: int
    running: int
    oldest: int
    own_queued: int
    own_running: int


class Gates(NamedTuple):
    """The queues from which nobody takes, by name, and the workers that take nothing, by id."""

    paused: frozenset[str]
    draining: frozenset[str]


class Queues(Room):
    """Who may take from a queue, and what became of its jobs; every worker obeys with its next look."""

    async def pause(self, queue: str) -> None:
        """Let nobody take from a queue; what runs is finished."""
        await self._call(PAUSE_LUA, queue)

    async def resume(self, queue: str) -> None:
        """End a pause, and wake those who sleep."""
        await self._call(RESUME_LUA, queue)

    async def gates(self) -> Gates:
        """Who takes nothing now."""
        paused, draining = await self._call(GATES_LUA)
        return Gates(frozenset(name.decode() for name in paused), frozenset(name.decode() for name in draining))

    async def load(self, queue: str, project: str = "") -> Load:
        """What a queue holds, by its jobs: of one whose jobs are no runs nothing else is known."""
        return Load(*await self._call(LOAD_LUA, queue, project))

    async def deaths(self, job_id: str) -> Sequence[Death]:
        """The workers that were lost while they held this job, the first one first; kept for a week."""
        return [Death.read(text) for text in await self._call(HOLDS_LUA, job_id)]

    async def lost(self) -> int:
        """How many jobs were taken from lost workers so far."""
        return int(await self._call(LOST_LUA) or 0)
