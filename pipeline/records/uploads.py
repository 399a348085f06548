"""Uploads that have not finished, and the one step in which an upload becomes a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from pipeline.errors import QuotaExceeded, UploadNotFound
from pipeline.model import File, Limits, Run, Upload, now
from pipeline.records.base import DUE_LUA, PAGE_LUA, Argument, Room, score
from pipeline.records.files import FILES_LUA, Starts, file_arguments
from pipeline.records.queue import Slip
from pipeline.records.steps import CREATING_LUA, run_arguments
from pipeline.records.trails import BYTES_LUA, LAST_WORD

REMEMBERED = 256
"""Uploads that need not be read anew, for the next request of theirs is near."""

# Those whose bytes come to an address of theirs wait for long, and are listed by project.
CREATE_LUA = (
    FILES_LUA
    + """
local id, text, offset, expires, project, listed = take(), take(), take(), take(), take(), take()
local key = P .. 'upload:' .. id
if redis.call('EXISTS', key) == 1 then return end
local broken = over(project, tonumber(take()), take(), take())
if broken then return broken end
redis.call('HSET', key, 'text', text, 'offset', offset)
redis.call('ZADD', P .. 'expiring:uploads', expires, id)
if listed ~= '' then
  redis.call('HSET', key, 'listed', project)
  redis.call('ZADD', P .. 'uploads:' .. project, listed, id)
end
"""
)

# The offset a client was told never goes down, whoever wakes up late.
ADVANCE_LUA = """
local key, offset = P .. 'upload:' .. take(), take()
local reached = redis.call('HGET', key, 'offset')
if not reached then return 0 end
if tonumber(offset) > tonumber(reached) then redis.call('HSET', key, 'offset', offset) end
return 1
"""

# Not while somebody has the turn at it, who may be making a file of what lay there before.
LAND_LUA = """
local id, offset = take(), take()
if redis.call('EXISTS', P .. 'upload:' .. id) == 0 then return end
if redis.call('EXISTS', P .. 'lock:' .. id) == 1 then return 0 end
redis.call('HSET', P .. 'upload:' .. id, 'offset', offset)
return 1
"""

FORGET_LUA = """
local function unlist(id)
  local project = redis.call('HGET', P .. 'upload:' .. id, 'listed')
  if project then redis.call('ZREM', P .. 'uploads:' .. project, id) end
end

local function forget_upload(id)
  unlist(id)
  redis.call('ZREM', P .. 'expiring:uploads', id)
  return redis.call('DEL', P .. 'upload:' .. id)
end
"""

# A dialect whose clients ask again after a lost answer leaves marks; inside a text their quotes would be escaped.
END_LUA = """
local function end_upload(id)
  local key, ended = P .. 'upload:' .. id, P .. 'ended:' .. id
  local expires = redis.call('ZSCORE', P .. 'expiring:uploads', id)
  if expires and string.find(redis.call('HGET', key, 'text'), '"marks":{"', 1, true) then
    unlist(id)
    redis.call('RENAME', key, ended)
    redis.call('PEXPIREAT', ended, math.floor(expires / 1000))
  end
  forget_upload(id)
end
"""

FINISHING_LUA = (
    FILES_LUA
    + FORGET_LUA
    + END_LUA
    + """
local function finish()
  local id, at, file, size = take(), take(), take_file(), tonumber(take())
  if redis.call('EXISTS', P .. 'upload:' .. id) == 0 then return 0 end
  local broken = over(file.project, size, take(), take())
  if broken then return broken end
  local unheard, starts = take() == '1', take()
  put_file(file)
  end_upload(id)
  emit('file.uploaded', file.project, file.id, at, file.facts, nil, unheard)
  if file.stored ~= '' then emit('file.stored', file.project, file.id, at, file.facts, nil, unheard) end
  tell_folders(file.project, at, unheard)
  await_starts(file, starts)
  return redis.call('EXISTS', P .. 'sheets:' .. file.project .. ':on_upload') == 1 and 2 or 1
end
"""
)

FINISH_LUA = FINISHING_LUA + "return finish()"

# The run that follows comes to be with the file, so that neither is ever without the other.
FOLLOW_LUA = (
    FINISHING_LUA
    + CREATING_LUA
    + """
local told = finish()
if told == 1 or told == 2 then create(take_run()) end
return told
"""
)

CONDEMN_LUA = """
local id, at, project, facts, text = take(), take(), take(), take(), take()
local key = P .. 'upload:' .. id
if redis.call('EXISTS', key) == 1 and redis.call('HSETNX', key, 'infected', at) == 1 then
  emit('file.infected', project, id, at, facts, text)
end
"""

DELETE_LUA = (
    FORGET_LUA
    + BYTES_LUA
    + f"""
local id = take()
if forget_upload(id) == 0 then return 0 end
told_bytes(id, 'gone', 1, {LAST_WORD})
return 1
"""
)

# What was said first holds.
DECLARE_LUA = """
local key, size = P .. 'upload:' .. take(), take()
if redis.call('EXISTS', key) == 0 then return end
redis.call('HSETNX', key, 'size', size)
return redis.call('HGET', key, 'size')
"""

DESCRIBE_LUA = """
local key, metadata = P .. 'upload:' .. take(), take()
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, 'metadata', metadata)
return 1
"""

ROW_LUA = """
local function row_of(id) return redis.call('HMGET', P .. 'upload:' .. id, 'text', 'offset', 'size', 'metadata') end
"""

WAITING_LUA = (
    PAGE_LUA
    + ROW_LUA
    + """
local found, rows = page(P .. 'uploads:' .. take(), take(), take(), take()), {}
for i = 1, #found, 2 do rows[#rows + 1] = row_of(found[i]) end
return rows
"""
)

# An id without a record would stand at the head of the index for ever.
EXPIRED_LUA = (
    DUE_LUA
    + ROW_LUA
    + """
local rows, index = {}, P .. 'expiring:uploads'
for _, id in ipairs(due(index, take(), take(), take())) do
  local row = row_of(id)
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

    async def create(self, upload: Upload, limits: Limits | None = None) -> None:
        """Keep a new upload; one of that id which is already there stays as it is.

        Raises `QuotaExceeded` when its project has reached the limits, or will with the bytes it declares.
        """
        size = upload.intake.declared_size or 0
        listed = "" if upload.way == "append" else score(upload.created_at)
        known = (upload.id, upload.model_dump_json(), upload.offset, score(upload.expires_at), upload.project, listed)
        _refuse(await self._call(CREATE_LUA, *known, size, *_quota(limits)), limits)

    async def get(self, upload_id: str) -> Upload:
        """The upload; raises `UploadNotFound` when there is none or it has become a file."""
        return await self._found("upload", upload_id)

    async def ended(self, upload_id: str) -> Upload:
        """An upload with marks that has become a file, as it was begun; raises `UploadNotFound` once it has expired."""
        return await self._found("ended", upload_id)

    async def declare(self, upload_id: str, size: int) -> int:
        """Note how many bytes it is to have, if that was left open; says how many it is. Raises `UploadNotFound`."""
        known = await self._call(DECLARE_LUA, upload_id, size)
        if known is None:
            raise UploadNotFound(id=upload_id)
        return int(known)

    async def describe(self, upload_id: str, metadata: Mapping[str, str]) -> None:
        """Give it this metadata in place of what it was begun with; raises `UploadNotFound`."""
        if not await self._call(DESCRIBE_LUA, upload_id, orjson.dumps(dict(metadata))):
            raise UploadNotFound(id=upload_id)

    async def advance(self, upload_id: str, offset: int) -> None:
        """Note that bytes up to `offset` are safe; a lower one than before changes nothing. Raises `UploadNotFound`."""
        if not await self._call(ADVANCE_LUA, upload_id, offset):
            raise UploadNotFound(id=upload_id)

    async def land(self, upload_id: str, size: int) -> bool:
        """Note that all bytes are safe, unless somebody holds it; whether it was. Raises `UploadNotFound`."""
        landed = await self._call(LAND_LUA, upload_id, size)
        if landed is None:
            raise UploadNotFound(id=upload_id)
        return bool(landed)

    async def finish(
        self,
        upload_id: str,
        file: File,
        limits: Limits | None = None,
        following: tuple[Run, Slip] | None = None,
        text: bytes | None = None,
        unheard: bool = False,
        starts: Starts = "none",
    ) -> bool:
        """Turn the upload into `file`, in one step with its events and the run `following` it; `text` is it as JSON.

        Whether the project has orders for what is stored, which are for the caller to see to.
        Until it is `started`, it is known for which file flows are to start.
        When `unheard`, only a webhook of the records can want its events; without one they wait for nobody.
        However many are finished at once, the project's files stay within the limits: raises `QuotaExceeded`. Raises
        `UploadNotFound` when it is gone.
        """
        made = (
            upload_id,
            now().isoformat(),
            *file_arguments(file, text),
            file.size,
            *_quota(limits),
            int(unheard),
            starts,
        )
        run = run_arguments(*following) if following else ()
        answer = await self._call(FOLLOW_LUA if following else FINISH_LUA, *made, *run)
        if not answer:
            raise UploadNotFound(id=upload_id)
        _refuse(answer, limits)
        return bool(answer == 2)

    async def condemn(self, file: File, signature: str) -> None:
        """Tell, once, of a virus in what would have become `file`."""
        facts = {"name": file.name, "mime": file.mime, "size": file.size, "sha256": file.sha256, "signature": signature}
        told = (now().isoformat(), file.project, orjson.dumps(facts), file.model_dump_json())
        await self._call(CONDEMN_LUA, file.id, *told)

    async def delete(self, upload_id: str) -> bool:
        """Forget the upload; whether it was there."""
        return bool(await self._call(DELETE_LUA, upload_id))

    async def expired(self, before: datetime, limit: int = 100, passed: int = 0) -> list[Upload]:
        """Uploads that should have ended by `before`, the longest overdue first, without the first `passed`."""
        return [_read(row) for row in await self._call(EXPIRED_LUA, score(before), passed, limit)]

    async def waiting(self, project: str, after: tuple[str, str] = ("", ""), limit: int = 50) -> list[Upload]:
        """Those of a project whose bytes come in parts or by one PUT, newest first, behind a score and id."""
        return [_read(row) for row in await self._call(WAITING_LUA, project, *after, limit) if row[0]]

    async def known(self, upload_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are uploads which have not ended."""
        found = await self._call(KNOWN_LUA, *upload_ids) if upload_ids else []
        return {id for id, there in zip(upload_ids, found, strict=True) if there}

    async def _found(self, kind: str, upload_id: str) -> Upload:
        fields = ("text", "offset", "size", "metadata")
        row = await self._ask("HMGET", self._key(kind, upload_id), *fields)
        if row[0] is None:
            raise UploadNotFound(id=upload_id)
        return _read(row)


def _read(row: Sequence[Any]) -> Upload:
    text, offset, size, metadata = row
    return _begun(text, size, metadata).model_copy(update={"offset": int(offset)})


@lru_cache(REMEMBERED)
def _begun(text: bytes, size: bytes | None, metadata: bytes | None) -> Upload:
    known = orjson.loads(text)
    if size is not None:
        known["intake"]["declared_size"] = int(size)
    if metadata is not None:
        known["intake"]["metadata"] = orjson.loads(metadata)
        if known["intake"]["follow"]:
            known["intake"]["follow"]["metadata"] = known["intake"]["metadata"]
    return Upload.model_validate(known)


def _quota(limits: Limits | None) -> tuple[Argument, Argument]:
    """Most files and bytes as the scripts take them, "" for as many as there may be."""
    known = (limits.max_files, limits.max_storage) if limits else (None, None)
    return "" if known[0] is None else known[0], "" if known[1] is None else known[1]


def _refuse(answer: Any, limits: Limits | None) -> None:
    if isinstance(answer, bytes) and limits is not None:
        limit = limits.max_files if answer == b"files" else limits.max_storage
        raise QuotaExceeded(limit=limit, unit=answer.decode())
