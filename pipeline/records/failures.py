"""Uploads that were refused at their end: what they were and why is told of them for some days."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import orjson

from pipeline.errors import SafelightError
from pipeline.model import Upload, now
from pipeline.records.base import PAGE_LUA, Room, score
from pipeline.records.trails import BYTES_LUA, LAST_WORD
from pipeline.records.uploads import FORGET_LUA
from pipeline.retold import read, spelt

KEPT_DAYS = 7
MOST = 1000
"""Of a project; one more takes the place of the one begun first."""

# Of a project: `failed:<project>` by when the upload was begun, `failed:<project>:until` by the millisecond it ends.
OVER_LUA = f"""
local life, clock = {KEPT_DAYS * 86_400_000}, redis.call('TIME')
local moment = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function drop_failure(index, id)
  redis.call('ZREM', index .. ':until', id)
  redis.call('DEL', index .. ':' .. id)
  return redis.call('ZREM', index, id)
end

local function drop_over(index)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', index .. ':until', '-inf', moment)) do drop_failure(index, old) end
end
"""

NOTE_LUA = (
    FORGET_LUA
    + BYTES_LUA
    + OVER_LUA
    + f"""
local project, id, text, created = take(), take(), take(), take()
if forget_upload(id) == 0 then return end
told_bytes(id, 'gone', 1, {LAST_WORD})
local index = P .. 'failed:' .. project
drop_over(index)
redis.call('SET', index .. ':' .. id, text, 'PX', life)
redis.call('ZADD', index, created, id)
redis.call('ZADD', index .. ':until', string.format('%.0f', moment + life), id)
for _, old in ipairs(redis.call('ZRANGE', index, 0, -{MOST + 1})) do drop_failure(index, old) end
"""
)

LIST_LUA = (
    PAGE_LUA
    + OVER_LUA
    + """
local index, rows = P .. 'failed:' .. take(), {}
drop_over(index)
local found = page(index, take(), take(), take())
for i = 1, #found, 2 do rows[#rows + 1] = redis.call('GET', index .. ':' .. found[i]) end
return rows
"""
)

DELETE_LUA = OVER_LUA + "return drop_failure(P .. 'failed:' .. take(), take())"


class Failure(NamedTuple):
    """An upload as it was when it was refused, and what for."""

    upload: Upload
    error: SafelightError
    at: datetime


class Failures(Room):
    """The uploads of each project that were refused in the last days."""

    async def note(self, upload: Upload, error: SafelightError) -> None:
        """Forget an upload and remember why, in one step; nothing happens when it is gone already."""
        text = orjson.dumps({"at": now(), "upload": upload.model_dump(mode="json"), "error": spelt(error)})
        await self._call(NOTE_LUA, upload.project, upload.id, text, score(upload.created_at))

    async def get(self, project: str, upload_id: str) -> Failure | None:
        """What is remembered of an upload."""
        text: bytes | None = await self._ask("GET", self._key("failed", project, upload_id))
        return _read(text) if text else None

    async def list(self, project: str, after: tuple[str, str] = ("", ""), limit: int = 50) -> list[Failure]:
        """Those of a project, the ones begun last first, behind a score and id."""
        return [_read(text) for text in await self._call(LIST_LUA, project, *after, limit) if text]

    async def delete(self, project: str, upload_id: str) -> bool:
        """Forget one; whether it was there."""
        return bool(await self._call(DELETE_LUA, project, upload_id))


def _read(text: bytes) -> Failure:
    told: dict[str, Any] = orjson.loads(text)
    return Failure(Upload.model_validate(told["upload"]), read(told["error"]), datetime.fromisoformat(told["at"]))
