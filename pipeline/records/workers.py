"""Heartbeats of worker processes, and which of them are to leave."""

from __future__ import annotations

from pipeline.errors import WorkerNotFound
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
return redis.call('SISMEMBER', P .. 'draining', id)
"""
)

LIST_LUA = (
    CLOCK_LUA
    + """
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', moment)) do
  redis.call('ZREM', P .. 'workers', id)
  redis.call('SREM', P .. 'draining', id)
end
local rows = {}
for _, id in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
  rows[#rows + 1] = {redis.call('GET', P .. 'worker:' .. id), redis.call('SISMEMBER', P .. 'draining', id)}
end
return rows
"""
)

LEAVE_LUA = """
local id = take()
redis.call('DEL', P .. 'worker:' .. id)
redis.call('ZREM', P .. 'workers', id)
redis.call('ZREM', P .. 'series:workers', id)
redis.call('SREM', P .. 'draining', id)
"""

DRAIN_LUA = """
local id, verb = take(), take()
if redis.call('EXISTS', P .. 'worker:' .. id) == 0 then return 0 end
redis.call(verb, P .. 'draining', id)
return 1
"""


class Workers(Room):
    """The workers that are alive."""

    async def beat(self, beat: WorkerBeat, ttl: float) -> bool:
        """Note that a worker lives, without another beat for `ttl` seconds; whether it is to leave."""
        return bool(await self._call(BEAT_LUA, beat.id, beat.model_dump_json(), max(1, int(ttl * 1000))))

    async def drain(self, worker_id: str) -> None:
        """Let a worker take nothing more and leave when it has finished what it holds; raises `WorkerNotFound`."""
        await self._mark(worker_id, "SADD")

    async def undrain(self, worker_id: str) -> None:
        """Let a worker that was to leave, and has not yet, go on; raises `WorkerNotFound`."""
        await self._mark(worker_id, "SREM")

    async def _mark(self, worker_id: str, verb: str) -> None:
        if not await self._call(DRAIN_LUA, worker_id, verb):
            raise WorkerNotFound(id=worker_id)

    async def leave(self, worker_id: str) -> None:
        """Forget a worker that stops."""
        await self._call(LEAVE_LUA, worker_id)

    async def list(self) -> list[WorkerBeat]:
        """The last beat of every living worker, by id."""
        rows = await self._call(LIST_LUA)
        beats = [_read(text, bool(draining)) for text, draining in rows if text]
        return sorted(beats, key=lambda beat: beat.id)


def _read(text: bytes, draining: bool) -> WorkerBeat:
    return WorkerBeat.model_validate_json(text).model_copy(update={"draining": draining})
