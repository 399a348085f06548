"""Finished files by project, by when those that were sent in were stored, and by the day they expire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pipeline.errors import FileNotFound
from pipeline.events import facts_text
from pipeline.model import File, FileQuery, Page, now
from pipeline.records.base import DUE_LUA, Argument, score
from pipeline.records.cards import CARDS_LUA, card_text
from pipeline.records.finding import Finding

CHANGED = ("name", "folder", "tags", "metadata", "private", "published", "description", "region")
"""What of a file can be changed, beside whether it is stored."""

Starts = Literal["none", "orders", "some"]
"""Whether flows are to start for a file that is stored: none, those that were ordered if any were, or some for sure."""

FILES_LUA = (
    CARDS_LUA
    + """
local function lasts(file)
  if file.expires ~= '' then redis.call('ZADD', P .. 'expiring:files', file.expires, file.id)
  else redis.call('ZREM', P .. 'expiring:files', file.id) end
  if file.kept ~= '' then redis.call('ZADD', P .. 'stored:' .. file.project, file.kept, file.id)
  else redis.call('ZREM', P .. 'stored:' .. file.project, file.id) end
end

local function put_file(file)
  redis.call('SET', P .. 'file:' .. file.id, file.text)
  redis.call('ZADD', P .. 'files:' .. file.project, file.created, file.id)
  reshelve(file.project, file.id, file.created, file.card)
  lasts(file)
end

-- Whoever remembers something of this file has to look again.
local function call_out(id) redis.call('PUBLISH', P .. 'changed', id) end

local function drop_file(id)
  local text = redis.call('GET', P .. 'file:' .. id)
  if not text then return nil end
  call_out(id)
  local project = cjson.decode(text).project
  local card, created = card_of(project, id), redis.call('ZSCORE', P .. 'files:' .. project, id)
  redis.call('DEL', P .. 'file:' .. id)
  if card and created then unshelve(project, id, created, card) end
  redis.call('ZREM', P .. 'files:' .. project, id)
  redis.call('ZREM', P .. 'stored:' .. project, id)
  redis.call('ZREM', P .. 'expiring:files', id)
  redis.call('ZREM', P .. 'starting', id)
  return text
end

local function take_file()
  return {id = take(), project = take(), text = take(), card = take(), created = take(), expires = take(),
    stored = take(), kept = take(), facts = take()}
end

-- Flows are to start for it: whoever stored it sees to that, or else who comes after those who died over it. By
-- `starts` the settings name some, or only what was ordered over an API counts, or nothing.
local function await_starts(file, starts)
  if file.stored == '' or starts == 'none' then return end
  if starts == 'some' or redis.call('EXISTS', P .. 'sheets:' .. file.project .. ':on_upload') == 1 then
    redis.call('ZADD', P .. 'starting', redis.call('TIME')[1], file.id)
  end
end

-- What of the limits a new file would break: 'files', 'bytes' or nothing; an empty limit is none.
local function over(project, size, most_files, most_bytes)
  if most_files == '' and most_bytes == '' then return nil end
  local used = redis.call('HMGET', P .. 'usage:' .. project, 'files', 'bytes')
  if most_files ~= '' and tonumber(used[1] or 0) + 1 > tonumber(most_files) then return 'files' end
  if most_bytes ~= '' and tonumber(used[2] or 0) + size > tonumber(most_bytes) then return 'bytes' end
  return nil
end
"""
)

CREATE_LUA = (
    FILES_LUA
    + """
local file = take_file()
if redis.call('EXISTS', P .. 'file:' .. file.id) == 1 then return 0 end
put_file(file)
return 1
"""
)

CHANGE_LUA = (
    FILES_LUA
    + """
local seen, at, type, facts, starts, file = take(), take(), take(), take(), take(), take_file()
if redis.call('GET', P .. 'file:' .. file.id) ~= seen then return 0 end
put_file(file)
call_out(file.id)
if type ~= '' then
  emit(type, file.project, file.id, at, facts)
  tell_folders(file.project, at)
end
await_starts(file, starts)
return 1
"""
)

DELETE_LUA = (
    FILES_LUA
    + """
-- Whether there is a newer version of it.
local function is_superseded(id)
  local text = redis.call('GET', P .. 'file:' .. id)
  if not text then return false end
  local file = cjson.decode(text)
  local own = type(file.lineage) == 'string' and file.lineage or string.sub(string.gsub(id, '%-', ''), 1, 24)
  local last = redis.call('ZREVRANGE', P .. 'lineage:' .. file.project .. ':' .. own, 0, 0)[1]
  return last and last ~= id
end

local id, at = take(), take()
local superseded = is_superseded(id)
local text = drop_file(id)
if not text then return false end
local file = cjson.decode(text)
local facts = cjson.encode({name = file.name, mime = file.mime, size = file.size, superseded = superseded or nil})
emit('file.deleted', file.project, id, at, facts, text)
tell_folders(file.project, at)
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

STARTING_LUA = "return redis.call('ZRANGEBYSCORE', P .. 'starting', '-inf', take(), 'LIMIT', 0, take())"

STARTED_LUA = "redis.call('ZREM', P .. 'starting', take())"

WITHIN_LUA = """
local index, verb, from, to = P .. take(), take(), take(), take()
local rows = {}
for _, id in ipairs(redis.call(verb, index, from, to, 'LIMIT', take(), take())) do
  rows[#rows + 1] = redis.call('GET', P .. 'file:' .. id)
end
return rows
"""


class Files(Finding):
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

    async def store(self, file_id: str, at: datetime, starts: Callable[[File], Starts] | None = None) -> File:
        """Keep the file for good; the second time changes nothing. Raises `FileNotFound`."""

        def kept(file: File) -> File:
            return file if file.stored_at else file.model_copy(update={"stored_at": at, "expires_at": None})

        return await self.change(file_id, kept, at, "file.stored", starts)

    async def unstore(self, file_id: str, at: datetime, expires: datetime) -> File:
        """Let the file expire; one that was to expire anyway does when it was. Raises `FileNotFound`."""

        def unkept(file: File) -> File:
            return file.model_copy(update={"stored_at": None, "expires_at": expires}) if file.stored_at else file

        return await self.change(file_id, unkept, at, "file.unstored")

    async def change(
        self,
        file_id: str,
        changed: Callable[[File], File],
        at: datetime,
        event: str = "file.updated",
        starts: Callable[[File], Starts] | None = None,
    ) -> File:
        """Make the file what `changed` makes of it, with its event; one that stays as it was is no news.

        `changed` is asked again when somebody else was faster, and may raise. Raises `FileNotFound`.
        """
        while True:
            seen = await self._text(file_id)
            old = read_file(seen)
            new = changed(old)
            if new == old:
                return old
            facts = _change_facts(old, new) if event == "file.updated" else file_facts(new)
            follows = starts(new) if starts else "none"
            if await self._call(CHANGE_LUA, seen, at.isoformat(), event, facts, follows, *file_arguments(new)):
                return new

    async def shelve(self, file_id: str) -> None:
        """Put a file that is on record into every index and sum again; raises `FileNotFound`."""
        while True:
            seen = await self._text(file_id)
            if await self._call(CHANGE_LUA, seen, "", "", "", "none", *file_arguments(read_file(seen))):
                return

    async def starting(self, before: datetime, limit: int = 100) -> list[str]:
        """Ids of files stored by `before` for which it is not known that the flows were started, the oldest first."""
        return [id.decode() for id in await self._call(STARTING_LUA, before.timestamp(), limit)]

    async def started(self, file_id: str) -> None:
        """Note that the flows are started which are to start for a file."""
        await self._call(STARTED_LUA, file_id)

    async def learn(self, file_id: str, facts: Mapping[str, Any]) -> File:
        """Note what was found out about the file, over what was known before; raises `FileNotFound`."""

        def learned(file: File) -> File:
            return file.model_copy(update={"facts": {**file.facts, **facts}})

        return await self.change(file_id, learned, now(), "")

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

    async def alike(self, project: str, sha256: str, limit: int = 20) -> Sequence[File]:
        """Files of a project with these bytes, at most `limit` of them, the oldest first."""
        key, first, last = self._key("hashes", project), f"[{sha256}:", f"[{sha256};"  # `;` comes after `:`
        found = await self._client.execute_command("ZRANGEBYLEX", key, first, last, "LIMIT", 0, limit)
        files = await self.get_many([member.decode().rpartition(":")[2] for member in found])
        return sorted((file for file in files if file is not None), key=lambda file: file.created_at)

    async def list(self, project: str, cursor: str | None = None, limit: int = 50) -> Page[File]:
        """The files of a project, newest first; raises `CursorInvalid`."""
        return await self.find(project, FileQuery(), cursor, limit)

    async def _text(self, file_id: str) -> bytes:
        text: bytes | None = await self._client.get(self._key("file", file_id))
        if text is None:
            raise FileNotFound(id=file_id)
        return text


def read_file(text: Any) -> File:
    return File.model_validate_json(text)


def file_arguments(file: File, text: bytes | None = None) -> list[Argument]:
    """A file as `take_file` of the scripts takes it; `text` is it as JSON, when that is known already."""
    return [
        file.id,
        file.project,
        text or file.model_dump_json(),
        card_text(file),
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


def _change_facts(old: File, new: File) -> bytes:
    """What the log tells of a change: which fields, and what they were."""
    fields = [name for name in CHANGED if getattr(old, name) != getattr(new, name)]
    previous = old.model_dump(mode="json", include=set(fields))
    return facts_text({"name": new.name, "mime": new.mime, "size": new.size, "changed": fields, "previous": previous})
