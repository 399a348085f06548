"""What is remembered for a while of files that were removed, for vendors who go on telling of them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import orjson

from pipeline.model import File
from pipeline.records.base import Room, score

KEPT_DAYS = 7
BATCH = 100
"""Of those that are over, how many one new one takes away."""

# Of a project: `removed:<project>` by when the file was created, `removed:<project>:until` by the millisecond it ends.
NOTE_LUA = f"""
local project, id, text, created = take(), take(), take(), take()
local clock = redis.call('TIME')
local moment = clock[1] * 1000 + math.floor(clock[2] / 1000)
local index, life = P .. 'removed:' .. project, {KEPT_DAYS * 86_400_000}
for _, old in ipairs(redis.call('ZRANGEBYSCORE', index .. ':until', '-inf', moment, 'LIMIT', 0, {BATCH})) do
  redis.call('ZREM', index, old)
  redis.call('ZREM', index .. ':until', old)
end
redis.call('SET', P .. 'removed:' .. project .. ':' .. id, text, 'PX', life)
redis.call('ZADD', index, created, id)
redis.call('ZADD', index .. ':until', string.format('%.0f', moment + life), id)
"""

WITHIN_LUA = """
local project, verb, from, to, rows = take(), take(), take(), take(), {}
local index = P .. 'removed:' .. project
for _, id in ipairs(redis.call(verb, index, from, to, 'LIMIT', take(), take())) do
  rows[#rows + 1] = redis.call('GET', index .. ':' .. id)
end
return rows
"""


class Removed(NamedTuple):
    """A file as it was when it was removed."""

    file: File
    at: datetime


class Removals(Room):
    """The files of each project that were removed in the last days."""

    async def note(self, file: File, at: datetime) -> None:
        """Remember a file whose bytes and record are gone."""
        text = orjson.dumps({"at": at, "file": file.model_dump(mode="json")})
        await self._call(NOTE_LUA, file.project, file.id, text, score(file.created_at))

    async def get(self, project: str, file_id: str) -> Removed | None:
        """What is remembered of a file."""
        text: bytes | None = await self._client.get(self._key("removed", project, file_id))
        return _read(text) if text else None

    async def list(self, project: str, since: datetime | None, *, down: bool, passed: int, limit: int) -> list[Removed]:
        """Those created from `since` on, or with `down` until then and the newest first, without the first `passed`."""
        start = ("+inf" if down else "-inf") if since is None else str(score(since))
        verb, end = ("ZREVRANGEBYSCORE", "-inf") if down else ("ZRANGEBYSCORE", "+inf")
        rows = await self._call(WITHIN_LUA, project, verb, start, end, passed, limit)
        return [_read(text) for text in rows if text]

    async def count(self, project: str) -> int:
        """How many are remembered, about."""
        return int(await self._client.zcard(self._key("removed", project)))


def _read(text: bytes) -> Removed:
    told = orjson.loads(text)
    return Removed(File.model_validate(told["file"]), datetime.fromisoformat(told["at"]))
