"""Finished files by project, by when those that were sent in were stored, and by the day they expire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.errors import FileNotFound
from pipeline.events import facts_text
from pipeline.model import File, Page, now
from pipeline.records.base import DUE_LUA, LIST_LUA, Argument, Room, decode_cursor, paged, score

FILES_LUA = """
local function put_file(file)
  redis.call('SET', P .. 'file:' .. file.id, file.text)
  redis.call('ZADD', P .. 'files:' .. file.project, file.created, file.id)
  if file.expires ~= '' then redis.call('ZADD', P .. 'expiring:files', file.expires, file.id) end
  if file.kept ~= '' then redis.call('ZADD', P .. 'stored:' .. file.project, file.kept, file.id) end
end

local function drop_file(id)
  local text = redis.call('GET', P .. 'file:' .. id)
  if not text then return nil end
  local project = cjson.decode(text).project
  redis.call('DEL', P .. 'file:' .. id)
  redis.call('ZREM', P .. 'files:' .. project, id)
  redis.call('ZREM', P .. 'stored:' .. project, id)
  redis.call('ZREM', P .. 'expiring:files', id)
  return text
end

local function take_file()
  return {id = take(), project = take(), text = take(), created = take(), expires = take(), stored = take(),
    kept = take(), facts = take()}
end
"""

CREATE_LUA = (
    FILES_LUA
    + """
local file = take_file()
if redis.call('EXISTS', P .. 'file:' .. file.id) == 1 then return 0 end
put_file(file)
return 1
"""
)

STORE_LUA = """
local id, seen, text, project, kept, at, facts = take(), take(), take(), take(), take(), take(), take()
if redis.call('GET', P .. 'file:' .. id) ~= seen then return 0 end
redis.call('SET', P .. 'file:' .. id, text)
redis.call('ZREM', P .. 'expiring:files', id)
if kept ~= '' then redis.call('ZADD', P .. 'stored:' .. project, kept, id) end
emit('file.stored', project, id, at, facts)
return 1
"""

LEARN_LUA = """
local id, seen, text = take(), take(), take()
if redis.call('GET', P .. 'file:' .. id) ~= seen then return 0 end
redis.call('SET', P .. 'file:' .. id, text)
return 1
"""

DELETE_LUA = (
    FILES_LUA
    + """
local id, at = take(), take()
local text = drop_file(id)
if not text then return false end
local file = cjson.decode(text)
local facts = cjson.encode({name = file.name, mime = file.mime, size = file.size})
emit('file.deleted', file.project, id, at, facts)
return text
"""
)

# An id without a record would stand at the head of the index for ever.
EXPIRED_LUA = (
    DUE_LUA
    + """
local rows, index = {}, P .. 'expiring:files'
for _, id in ipairs(due(index, take(), take(), take())) do
  local text = redis.call('GET', P .. 'file:' .. id)
  if text then rows[#rows + 1] = text else redis.call('ZREM', index, id) end
end
return rows
"""
)

WITHIN_LUA = """
local index, verb, from, to = P .. take(), take(), take(), take()
local rows = {}
for _, id in ipairs(redis.call(verb, index, from, to, 'LIMIT', take(), take())) do
  rows[#rows + 1] = redis.call('GET', P .. 'file:' .. id)
end
return rows
"""


class Files(Room):
    """The files that can be asked for."""

    async def create(self, file: File) -> bool:
        """Keep `file` without an event; False for an id on record already, which stays as it is."""
        return bool(await self._call(CREATE_LUA, *file_arguments(file)))

    async def get(self, file_id: str) -> File:
        """The file; raises `FileNotFound`."""
        return read_file(await self._text(file_id))

    async def get_many(self, file_ids: Sequence[str]) -> list[File | None]:
        """The files in the order asked for, None for each that is not there."""
        if not file_ids:
            return []
        texts = await self._client.mget([self._key("file", file_id) for file_id in file_ids])
        return [read_file(text) if text else None for text in texts]

    async def store(self, file_id: str, at: datetime) -> File:
        """Keep the file for good; the second time changes nothing. Raises `FileNotFound`."""
        while True:
            seen = await self._text(file_id)
            file = read_file(seen)
            if file.stored_at is not None:
                return file
            stored = file.model_copy(update={"stored_at": at, "expires_at": None})
            change = (stored.model_dump_json(), file.project, _kept(stored), at.isoformat(), file_facts(stored))
            if await self._call(STORE_LUA, file_id, seen, *change):
                return stored

    async def learn(self, file_id: str, facts: Mapping[str, Any]) -> File:
        """Note what was found out about the file, over what was known before; raises `FileNotFound`."""
        while True:
            seen = await self._text(file_id)
            file = read_file(seen)
            learned = file.model_copy(update={"facts": {**file.facts, **facts}})
            if learned == file or await self._call(LEARN_LUA, file_id, seen, learned.model_dump_json()):
                return learned

    async def delete(self, file_id: str) -> File | None:
        """Forget the file and return what it was, None when there was none."""
        text = await self._call(DELETE_LUA, file_id, now().isoformat())
        return read_file(text) if text else None

    async def expired(self, before: datetime, limit: int = 100, passed: int = 0) -> list[File]:
        """Files that were not stored by `before`, the longest overdue first, without the first `passed`."""
        return [read_file(text) for text in await self._call(EXPIRED_LUA, score(before), passed, limit)]

    async def stored(
        self, project: str, after: datetime, until: datetime, limit: int = 100, passed: int = 0, newest: bool = False
    ) -> list[File]:
        """Files sent in, no outputs, that were stored after `after` and not after `until`, in the order of that."""
        bounds = (f"({score(after)}", str(score(until)))
        verb, ends = ("ZREVRANGEBYSCORE", bounds[::-1]) if newest else ("ZRANGEBYSCORE", bounds)
        texts = await self._call(WITHIN_LUA, f"stored:{project}", verb, *ends, passed, limit)
        return [read_file(text) for text in texts if text]

    async def made(
        self, project: str, since: datetime, before: datetime, limit: int = 100, passed: int = 0
    ) -> list[File]:
        """Every file made from `since` on and before `before`, the oldest first, without the first `passed`."""
        ends = (str(score(since)), f"({score(before)}")
        texts = await self._call(WITHIN_LUA, f"files:{project}", "ZRANGEBYSCORE", *ends, passed, limit)
        return [read_file(text) for text in texts if text]

    async def list(self, project: str, cursor: str | None = None, limit: int = 50) -> Page[File]:
        """The files of a project, newest first; raises `CursorInvalid`."""
        place = decode_cursor(cursor)
        rows = await self._call(LIST_LUA, f"files:{project}", "file:", *place, limit + 1)
        return paged(rows, limit, read_file)

    async def _text(self, file_id: str) -> bytes:
        text: bytes | None = await self._client.get(self._key("file", file_id))
        if text is None:
            raise FileNotFound(id=file_id)
        return text


def read_file(text: Any) -> File:
    return File.model_validate_json(text)


def file_arguments(file: File) -> list[Argument]:
    """A file as `take_file` of the scripts takes it."""
    return [
        file.id,
        file.project,
        file.model_dump_json(),
        score(file.created_at),
        score(file.expires_at) if file.expires_at else "",
        file.stored_at.isoformat() if file.stored_at else "",
        _kept(file),
        file_facts(file),
    ]


def _kept(file: File) -> Argument:
    """Its place among the files that were sent in and stored, "" for one that is not among them."""
    return score(file.stored_at) if file.stored_at and file.run is None else ""


def file_facts(file: File) -> bytes:
    """What the log tells of a file."""
    facts = {"name": file.name, "mime": file.mime, "size": file.size}
    if file.run is not None:
        facts |= {"run": file.run, "path": file.path}
    return facts_text(facts)
