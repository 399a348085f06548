"""Heartbeats of worker processes."""

from __future__ import annotations

from pipeline.model import WorkerBeat
from pipeline.records.base import Room

# Ages are measured by the server's clock, so that hosts need not agree on the time.
CLOCK_LUA = """
local clock = redis.call('TIME')
local moment = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

BEAT_LUA = (
    CLOCK_LUA
    + """
local id, text, milliseconds = take(), take(), take()
redis.call('SET', P .. 'worker:' .. id, text, 'PX', milliseconds)
redis.call('ZADD', P .. 'workers', moment + milliseconds, id)
"""
)

LIST_LUA = (
    CLOCK_LUA
    + """
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', moment)
local rows = {}
for _, id in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
  rows[#rows + 1] = redis.call('GET', P .. 'worker:' .. id)
end
return rows
"""
)

LEAVE_LUA = """
local id = take()
redis.call('DEL', P .. 'worker:' .. id)
redis.call('ZREM', P .. 'workers', id)
"""


class Workers(Room):
    """The workers that are alive."""

    async def beat(self, beat: WorkerBeat, ttl: float) -> None:
        """Note that a worker lives; without another beat it is forgotten after `ttl` seconds."""
        await self._call(BEAT_LUA, beat.id, beat.model_dump_json(), max(1, int(ttl * 1000)))

    async def leave(self, worker_id: str) -> None:
        """Forget a worker that stops."""
        await self._call(LEAVE_LUA, worker_id)

    async def list(self) -> list[WorkerBeat]:
        """The last beat of every living worker, by id."""
        beats = [WorkerBeat.model_validate_json(text) for text in await self._call(LIST_LUA) if text]
        return sorted(beats, key=lambda beat: beat.id)
