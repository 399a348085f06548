"""What was made of files and can be made again, listed so that it goes with them.

Who needs one asks for it and learns in the same step that it is there, why it cannot be made, or that it has been
ordered; whoever waits for it hears of its end on one channel. When each was last used is kept beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

from pipeline.events import facts_text
from pipeline.model import Derivative, now
from pipeline.records.base import DUE_LUA, Argument, Room, flat, score
from pipeline.records.queue import ENQUEUE_LUA, Slip

DRAWN = "drawn"
"""The channel on which the key of a derivative is called out when it is there, or cannot be made."""

MAKING_LIFE = timedelta(days=28)
"""How long it is remembered that one is being made whose end is to be told of, as long as the queue has its job."""

# Told of with these facts while it is being made, and once when that has ended, whoever ends it.
MAKING_LUA = """
local function making(key) return P .. 'making:' .. key end

local function begin_telling(key, project, id, at, telling, life)
  if redis.call('EXISTS', making(key)) == 1 then return end
  redis.call('HSET', making(key), 'project', project, 'file', id, 'telling', telling)
  redis.call('PEXPIRE', making(key), life)
  emit('derivative.ordered', project, id, at, telling)
end

-- Both are objects of JSON with something in them.
local function end_telling(key, type, at, more)
  local told = redis.call('HMGET', making(key), 'project', 'file', 'telling')
  if redis.call('DEL', making(key)) == 0 then return end
  emit(type, told[1], told[2], at, string.sub(told[3], 1, -2) .. ',' .. string.sub(more, 2))
end
"""

ADD_LUA = (
    MAKING_LUA
    + """
local id, key, text, at, told, facts = take(), take(), take(), take(), take(), take()
if redis.call('EXISTS', P .. 'file:' .. id) == 0 then return 0 end
redis.call('HSET', P .. 'derivatives:' .. id, key, text)
redis.call('ZADD', P .. 'used:derivatives', at, id .. ' ' .. key)
redis.call('DEL', P .. 'undrawn:' .. key)
redis.call('PUBLISH', P .. 'drawn', key)
end_telling(key, 'derivative.made', told, facts)
return 1
"""
)

ORDER_LUA = (
    ENQUEUE_LUA
    + MAKING_LUA
    + """
local id, key, at, telling, life = take(), take(), take(), take(), take()
local text = redis.call('HGET', P .. 'derivatives:' .. id, key)
if text then return {'made', text} end
if redis.call('EXISTS', P .. 'file:' .. id) == 0 then return {'gone', ''} end
local fault = redis.call('GET', P .. 'undrawn:' .. key)
if fault then return {'failed', fault} end
local slip = take_slip()
enqueue(slip)
if telling ~= '' then begin_telling(key, slip.project, id, at, telling, life) end
return {'ordered', ''}
"""
)

FAIL_LUA = (
    MAKING_LUA
    + """
local key, fault, life, at, facts = take(), take(), take(), take(), take()
redis.call('SET', P .. 'undrawn:' .. key, fault, 'PX', life)
redis.call('PUBLISH', P .. 'drawn', key)
end_telling(key, 'derivative.failed', at, facts)
"""
)

FORGET_LUA = """
local id = take()
for _ = 1, tonumber(take()) do
  local key = take()
  redis.call('HDEL', P .. 'derivatives:' .. id, key)
  redis.call('ZREM', P .. 'used:derivatives', id .. ' ' .. key)
end
"""

USED_LUA = """
local at = take()
for _ = 1, tonumber(take()) do redis.call('ZADD', P .. 'used:derivatives', 'XX', 'GT', at, take()) end
"""

UNUSED_LUA = (
    DUE_LUA
    + """
local rows = {}
for _, member in ipairs(due(P .. 'used:derivatives', take(), take(), take())) do
  local id, key = string.match(member, '^(%S+) (.+)$')
  rows[#rows + 1] = {id, key, redis.call('HGET', P .. 'derivatives:' .. id, key)}
end
return rows
"""
)


class Ordered(NamedTuple):
    """What came of asking for a derivative: it, or the fault that keeps it from being made, or neither yet."""

    derivative: Derivative | None = None
    fault: Mapping[str, Any] | None = None
    gone: bool = False
    """Whether the file is not there any more."""


class Unused(NamedTuple):
    """A derivative that nobody asked for in a while; None when its record is gone already."""

    file: str
    key: str
    derivative: Derivative | None


class Derivatives(Room):
    """The derivatives of each file."""

    async def order(self, file_id: str, key: str, slip: Slip, telling: Mapping[str, Any] | None = None) -> Ordered:
        """The derivative under `key`, or what is known of it; one that nobody is making yet is queued.

        With facts to tell, `derivative.ordered` tells them when its making begins, and `derivative.made` or
        `derivative.failed` when that ends, each once in the step itself.
        """
        told = (now().isoformat(), facts_text(telling) if telling else "", int(MAKING_LIFE.total_seconds() * 1000))
        arguments = (slip.queue, slip.id, slip.body, slip.life, slip.project)
        word, text = await self._call(ORDER_LUA, file_id, key, *told, *arguments)
        if word == b"made":
            return Ordered(Derivative.model_validate_json(text))
        return Ordered(fault=orjson.loads(text) if word == b"failed" else None, gone=word == b"gone")

    async def fail(self, key: str, fault: Mapping[str, Any], seconds: float, message: str = "") -> None:
        """Tell all who wait why it cannot be made, and those who ask within so many seconds."""
        told = (now().isoformat(), facts_text({"code": fault["code"], "message": message}))
        await self._call(FAIL_LUA, key, orjson.dumps(fault, default=str), int(seconds * 1000), *told)

    async def use(self, at: datetime, used: Iterable[tuple[str, str]]) -> None:
        """Note that these, each the id of its file and its key, were asked for."""
        if rows := list(used):
            await self._call(USED_LUA, score(at), *flat([(f"{id} {key}",) for id, key in rows]))

    async def unused(self, before: datetime, limit: int = 100, passed: int = 0) -> Sequence[Unused]:
        """Those that nobody asked for since `before`, the longest unused first, without the first `passed`."""
        rows = await self._call(UNUSED_LUA, score(before), passed, limit)
        return [
            Unused(id.decode(), key.decode(), Derivative.model_validate_json(text) if text else None)
            for id, key, text in rows
        ]

    async def add(self, file_id: str, derivative: Derivative) -> bool:
        """List bytes that are in storage already; False for a file that is gone, with which they are to go."""
        text, at = derivative.model_dump_json(), now()
        told = (at.isoformat(), facts_text({"mime": derivative.mime, "size": derivative.size}))
        return bool(await self._call(ADD_LUA, file_id, derivative.key, text, score(at), *told))

    async def of(self, file_id: str) -> list[Derivative]:
        """Those of a file, which may be gone."""
        key = self._key("derivatives", file_id)
        rows: Mapping[bytes, bytes] = await self._client.execute_command("HGETALL", key)
        return [Derivative.model_validate_json(text) for _, text in sorted(rows.items())]

    async def forget(self, file_id: str, keys: Sequence[str]) -> None:
        """List no longer what was removed."""
        if keys:
            named: Sequence[Argument] = keys
            await self._call(FORGET_LUA, file_id, len(named), *named)
