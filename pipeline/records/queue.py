"""How a run gets into the queue: laid out as arq does it, and told at once to a worker that waits.

Every queue has a wake list beside its sorted set, on which idle workers block; who enqueues puts one word on it.
"""

from __future__ import annotations

from typing import NamedTuple

MOST_WAKES = 1000
"""Words kept for workers; while there are more than nobody waits for them."""
WAKE_SUFFIX = ":wake"

ENQUEUE_LUA = f"""
local function take_slip()
  local queue = take()
  if queue == '' then return nil end
  return {{queue = queue, id = take(), body = take(), life = take()}}
end

-- The body lies under `arq:job:<id>`, the id in the queue's sorted set by the millisecond it is due. A body that no
-- queue knows of is what a fault left behind.
local function enqueue(slip)
  local key = 'arq:job:' .. slip.id
  if redis.call('EXISTS', 'arq:result:' .. slip.id) == 1 then return 0 end
  if redis.call('EXISTS', key) == 1 and redis.call('ZSCORE', slip.queue, slip.id) then return 0 end
  local time = redis.call('TIME')
  redis.call('ZADD', slip.queue, time[1] .. string.format('%03d', math.floor(time[2] / 1000)), slip.id)
  redis.call('PSETEX', key, slip.life, slip.body)
  redis.call('LPUSH', slip.queue .. '{WAKE_SUFFIX}', 1)
  redis.call('LTRIM', slip.queue .. '{WAKE_SUFFIX}', 0, {MOST_WAKES - 1})
  return 1
end
"""


class Slip(NamedTuple):
    """What the queue is told of a run: the key of the queue, a name, what its worker is given, and milliseconds."""

    queue: str
    id: str
    body: bytes
    life: int
