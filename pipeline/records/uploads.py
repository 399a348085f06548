"""Uploads that have not finished, and the one step in which an upload becomes a file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from pipeline.errors import UploadNotFound
from pipeline.model import File, Upload, now
from pipeline.records.base import DUE_LUA, Room, score
from pipeline.records.files import FILES_LUA, file_arguments

CREATE_LUA = """
local id, text, offset, expires = take(), take(), take(), take()
if redis.call('EXISTS', P .. 'upload:' .. id) == 1 then return end
redis.call('HSET', P .. 'upload:' .. id, 'text', text, 'offset', offset)
redis.call('ZADD', P .. 'expiring:uploads', expires, id)
"""

# The offset a client was told never goes down, whoever wakes up late.
ADVANCE_LUA = """
local key, offset = P .. 'upload:' .. take(), take()
local reached = redis.call('HGET', key, 'offset')
if not reached then return 0 end
if tonumber(offset) > tonumber(reached) then redis.call('HSET', key, 'offset', offset) end
return 1
"""

LOCK_LUA = """
local key, holder, milliseconds = P .. 'lock:' .. take(), take(), take()
local held = redis.call('GET', key)
if held and held ~= holder then return 0 end
redis.call('SET', key, holder, 'PX', milliseconds)
return 1
"""

UNLOCK_LUA = """
local key = P .. 'lock:' .. take()
if redis.call('GET', key) == take() then redis.call('DEL', key) end
"""

FORGET_LUA = """
local function forget_upload(id)
  redis.call('ZREM', P .. 'expiring:uploads', id)
  return redis.call('DEL', P .. 'upload:' .. id)
end
"""

FINISH_LUA = (
    FILES_LUA
    + FORGET_LUA
    + """
local id, at, file = take(), take(), take_file()
if redis.call('EXISTS', P .. 'upload:' .. id) == 0 then return 0 end
put_file(file)
forget_upload(id)
emit('file.uploaded', file.project, file.id, at, file.facts)
if file.stored ~= '' then emit('file.stored', file.project, file.id, at, file.facts) end
return 1
"""
)

DELETE_LUA = FORGET_LUA + "return forget_upload(take())"

# An id without a record would stand at the head of the index for ever.
EXPIRED_LUA = (
    DUE_LUA
    + """
local rows, index = {}, P .. 'expiring:uploads'
for _, id in ipairs(due(index, take(), take(), take())) do
  local row = redis.call('HMGET', P .. 'upload:' .. id, 'text', 'offset')
  if row[1] then rows[#rows + 1] = row else redis.call('ZREM', index, id) end
end
return rows
"""
)

KNOWN_LUA = """
local found = {}
for i = 1, #ARGV do found[i] = redis.call('EXISTS', P .. 'upload:' .. take()) end
return found
"""


class Uploads(Room):
    """The uploads whose bytes are still arriving."""

    async def create(self, upload: Upload) -> None:
        """Keep a new upload; one of that id which is already there stays as it is."""
        await self._call(CREATE_LUA, upload.id, upload.model_dump_json(), upload.offset, score(upload.expires_at))

    async def get(self, upload_id: str) -> Upload:
        """The upload; raises `UploadNotFound` when there is none or it has become a file."""
        row = await self._client.execute_command("HMGET", self._key("upload", upload_id), "text", "offset")
        if row[0] is None:
            raise UploadNotFound(id=upload_id)
        return _read(row)

    async def advance(self, upload_id: str, offset: int) -> None:
        """Note that bytes up to `offset` are safe; a lower one than before changes nothing. Raises `UploadNotFound`."""
        if not await self._call(ADVANCE_LUA, upload_id, offset):
            raise UploadNotFound(id=upload_id)

    async def lock(self, upload_id: str, holder: str, seconds: float) -> bool:
        """Whether `holder` alone may write now, for `seconds`; asking again while holding prolongs it."""
        return bool(await self._call(LOCK_LUA, upload_id, holder, max(1, int(seconds * 1000))))

    async def unlock(self, upload_id: str, holder: str) -> None:
        """Let others write; nothing happens when the lock has passed to somebody else."""
        await self._call(UNLOCK_LUA, upload_id, holder)

    async def finish(self, upload_id: str, file: File) -> None:
        """Turn the upload into `file`, in one step with its events; raises `UploadNotFound` when it is gone."""
        if not await self._call(FINISH_LUA, upload_id, now().isoformat(), *file_arguments(file)):
            raise UploadNotFound(id=upload_id)

    async def delete(self, upload_id: str) -> bool:
        """Forget the upload; whether it was there."""
        return bool(await self._call(DELETE_LUA, upload_id))

    async def expired(self, before: datetime, limit: int = 100, passed: int = 0) -> list[Upload]:
        """Uploads that should have ended by `before`, the longest overdue first, without the first `passed`."""
        return [_read(row) for row in await self._call(EXPIRED_LUA, score(before), passed, limit)]

    async def known(self, upload_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are uploads which have not ended."""
        found = await self._call(KNOWN_LUA, *upload_ids) if upload_ids else []
        return {id for id, there in zip(upload_ids, found, strict=True) if there}


def _read(row: Sequence[Any]) -> Upload:
    return Upload.model_validate(orjson.loads(row[0]) | {"offset": int(row[1])})
