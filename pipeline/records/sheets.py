"""Small documents that dialects keep for a project: by kind and id, in the order they were made, some by a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import SheetExists, SheetNotFound, SheetsTooMany
from pipeline.events import lua_text
from pipeline.model import Page, Sheet, now
from pipeline.records.base import PAGE_LUA, Room, decode_cursor, paged, score
from pipeline.records.changes import HEED_LUA
from pipeline.records.folders import FOLDER, FOLDERS_LUA

MOST_SHEETS = 10_000
"""Of one kind in one project."""
EVERY = 1000

SHEETS_LUA = (
    HEED_LUA
    + FOLDERS_LUA
    + """
local project, kind = take(), take()
local all = P .. 'sheets:' .. project .. ':' .. kind
local order, names = all .. ':order', all .. ':names'

local function changed(name) if name ~= '' then call_heeded(project, 'sheet:' .. kind .. ':' .. name) end end
"""
)

ADD_LUA = (
    SHEETS_LUA
    + f"""
local id, name, text, created, at = take(), take(), take(), take(), take()
if redis.call('HEXISTS', all, id) == 1 then return 'exists' end
if name ~= '' and redis.call('HEXISTS', names, name) == 1 then return 'exists' end
if redis.call('HLEN', all) >= {MOST_SHEETS} then return 'many' end
redis.call('HSET', all, id, text)
redis.call('ZADD', order, created, id)
if name ~= '' then redis.call('HSET', names, name, id) end
if kind == {lua_text(FOLDER)} and not holds_files(project, name) then tell_folder(project, name, at, true) end
return 'made'
"""
)

CHANGE_LUA = (
    SHEETS_LUA
    + """
local id, seen, text, before, name = take(), take(), take(), take(), take()
if redis.call('HGET', all, id) ~= seen then return 'stale' end
if name ~= before then
  if name ~= '' and redis.call('HEXISTS', names, name) == 1 then return 'exists' end
  if before ~= '' then redis.call('HDEL', names, before) end
  if name ~= '' then redis.call('HSET', names, name, id) end
end
redis.call('HSET', all, id, text)
changed(before)
return 'made'
"""
)

DELETE_LUA = (
    SHEETS_LUA
    + f"""
local id, at = take(), take()
local text = redis.call('HGET', all, id)
if not text then return 0 end
local name = cjson.decode(text).name
redis.call('HDEL', all, id)
redis.call('ZREM', order, id)
if type(name) == 'string' then
  redis.call('HDEL', names, name)
  changed(name)
  if kind == {lua_text(FOLDER)} and not holds_files(project, name) then tell_folder(project, name, at, false) end
end
return 1
"""
)

NAMED_LUA = (
    SHEETS_LUA
    + """
local name, heeded = take(), take()
local id = redis.call('HGET', names, name)
if id and heeded == '1' then heed(project, 'sheet:' .. kind .. ':' .. name) end
return id and redis.call('HGET', all, id)
"""
)

LIST_LUA = (
    PAGE_LUA
    + SHEETS_LUA
    + """
local found, rows = page(order, take(), take(), take()), {}
for i = 1, #found, 2 do rows[#rows + 1] = {found[i], found[i + 1], redis.call('HGET', all, found[i])} end
return rows
"""
)

EVERY_LUA = (
    SHEETS_LUA
    + f"""
local rows = {{}}
for i, id in ipairs(redis.call('ZRANGE', order, 0, {EVERY - 1})) do rows[i] = redis.call('HGET', all, id) end
return rows
"""
)


class Sheets(Room):
    """The documents of every project and kind."""

    async def add(self, project: str, kind: str, id: str, body: Mapping[str, Any], name: str | None = None) -> Sheet:
        """Keep a new one; raises `SheetExists` when its id or its name is taken, and `SheetsTooMany`."""
        at = now()
        sheet = Sheet(id=id, project=project, kind=kind, name=name, body=body, created_at=at, updated_at=at)
        told = await self._call(
            ADD_LUA, project, kind, id, name or "", sheet.model_dump_json(), score(at), at.isoformat()
        )
        if told == b"many":
            raise SheetsTooMany(most=MOST_SHEETS)
        _check(told, sheet)
        return sheet

    async def get(self, project: str, kind: str, id: str) -> Sheet:
        """The one of this id; raises `SheetNotFound`."""
        return _read(await self._text(project, kind, id))

    async def named(self, project: str, kind: str, name: str, heeded: bool = False) -> Sheet | None:
        """The one of this name, None when there is none.

        With `heeded`, who follows changes hears `sheet_word` when it says something else or is gone.
        """
        text = await self._call(NAMED_LUA, project, kind, name, int(heeded))
        return _read(text) if text else None

    async def change(
        self,
        project: str,
        kind: str,
        id: str,
        changed: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        name: Callable[[str | None], str | None] = lambda name: name,
    ) -> Sheet:
        """Make its body, and its name, what these make of it; they are asked again when somebody else was faster.

        Raises `SheetNotFound`, and `SheetExists` when the new name is taken.
        """
        while True:
            seen = await self._text(project, kind, id)
            old = _read(seen)
            update = {"body": changed(old.body), "name": name(old.name), "updated_at": now()}
            new = old.model_copy(update=update)
            names = (old.name or "", new.name or "")
            told = await self._call(CHANGE_LUA, project, kind, id, seen, new.model_dump_json(), *names)
            _check(told, new)
            if told == b"made":
                return new

    async def delete(self, project: str, kind: str, id: str) -> bool:
        """Forget it; whether it was there."""
        return bool(await self._call(DELETE_LUA, project, kind, id, now().isoformat()))

    async def every(self, project: str, kind: str) -> list[Sheet]:
        """The first thousand of a kind, the oldest first."""
        return [_read(text) for text in await self._call(EVERY_LUA, project, kind) if text]

    async def count(self, project: str, kind: str) -> int:
        """How many there are of a kind."""
        return int(await self._client.execute_command("HLEN", self._key("sheets", project, kind)))

    async def list(self, project: str, kind: str, cursor: str | None = None, limit: int = 50) -> Page[Sheet]:
        """Those of a kind, newest first; raises `CursorInvalid`."""
        rows = await self._call(LIST_LUA, project, kind, *decode_cursor(cursor), limit + 1)
        return paged(rows, limit, _read)

    async def _text(self, project: str, kind: str, id: str) -> bytes:
        text: bytes | None = await self._client.execute_command("HGET", self._key("sheets", project, kind), id)
        if text is None:
            raise SheetNotFound(kind=kind, id=id[:64])
        return text


def _check(told: bytes, sheet: Sheet) -> None:
    if told == b"exists":
        raise SheetExists(kind=sheet.kind, id=(sheet.name or sheet.id)[:64])


def _read(text: bytes) -> Sheet:
    return Sheet.model_validate_json(text)
