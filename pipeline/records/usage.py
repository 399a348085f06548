"""What each project has in its storages: kept with every file that comes or goes, and counted anew now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.model import Noun, Sum, Usage
from pipeline.records.base import Room
from pipeline.records.cards import CARDS_LUA
from pipeline.records.ways import ORDER_LUA

READ_LUA = "return redis.call('HGETALL', P .. 'usage:' .. take())"

# Files that have no card were put on record by an older version, cards without a file were left by a fault.
FILES_LUA = """
local index, bare, gone = P .. 'files:' .. project, {}, 0
local place = redis.call('HMGET', counting, 'score', 'member')
local from = place[1] and {key = tonumber(place[1]), id = place[2]} or nil
local rows, whole = along(index, nil, nil, from, most)
for _, row in ipairs(rows) do
  local card, there = card_of(project, row.id), redis.call('EXISTS', P .. 'file:' .. row.id) == 1
  if not there then
    if card then unshelve(project, row.id, row.key, card) end
    redis.call('ZREM', index, row.id)
    gone = gone + 1
  elseif card then
    bump(counting, sums(card, 1))
  else
    bare[#bare + 1] = row.id
  end
end
if #rows > 0 then
  local last = rows[#rows]
  redis.call('HSET', counting, 'score', string.format('%.0f', last.key), 'member', last.id)
end
if whole then redis.call('HSET', counting, 'sha256', '') end
return {0, gone, bare}
"""

DOUBLES_LUA = """
local hashes, reached = P .. 'hashes:' .. project, redis.call('HGET', counting, 'sha256')
for _ = 1, most do
  local behind = reached == '' and '-' or '(' .. reached .. ':\\255'
  local two = redis.call('ZRANGEBYLEX', hashes, behind, '+', 'LIMIT', 0, 2)
  if not two[1] then return settle() end
  reached = two[1]:sub(1, 64)
  if two[2] and two[2]:sub(1, 64) == reached then
    local more = redis.call('ZLEXCOUNT', hashes, '[' .. reached .. ':', '[' .. reached .. ':\\255') - 1
    local card = card_of(project, two[1]:sub(66))
    bump(counting, {doubles = more, double_bytes = more * card.size})
  end
  redis.call('HSET', counting, 'sha256', reached)
end
return {0, 0, {}}
"""

COUNT_LUA = (
    CARDS_LUA
    + "local project, by, down, most = take(), 'created', false, tonumber(take())\n"
    + ORDER_LUA
    + """
local usage, counting = P .. 'usage:' .. project, P .. 'count:' .. project

local function told(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- What was counted takes the place of what was kept, were they ever to differ.
local function settle()
  redis.call('HDEL', counting, 'score', 'member', 'sha256')
  local kept, counted = told(usage), told(counting)
  local wrong = 0
  for name, value in pairs(counted) do if kept[name] ~= value then wrong = 1 end end
  for name in pairs(kept) do if not counted[name] then wrong = 1 end end
  if next(counted) then redis.call('RENAME', counting, usage) else redis.call('DEL', usage) end
  return {1, wrong, {}}
end

local function walk_files()
"""
    + FILES_LUA
    + "end\nlocal function walk_doubles()\n"
    + DOUBLES_LUA
    + """end
if redis.call('HEXISTS', counting, 'sha256') == 1 then return walk_doubles() end
return walk_files()
"""
)


class Counted(Noun):
    """What one step of a count came to."""

    done: bool
    wrong: int = 0
    """Entries without a file that were removed; at the end whether the sums had to be put right."""
    bare: Sequence[str] = ()
    """Ids of files that stand in no index yet."""


class Usages(Room):
    """The sums by project."""

    async def get(self, project: str) -> Usage:
        """What the project has, exact at any moment."""
        flat = await self._call(READ_LUA, project)
        sums = {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
        storages = {name.partition(":")[2] for name in sums if ":" in name}
        return Usage(
            files=sums.get("files", 0),
            bytes=sums.get("bytes", 0),
            doubles=Sum(files=sums.get("doubles", 0), bytes=sums.get("double_bytes", 0)),
            storages={name: _sum(sums, name) for name in sorted(storages)},
        )

    async def count(self, project: str, most: int = 200) -> Counted:
        """Go on counting the project's files, some at a time; the last step puts the sums right.

        What comes, changes or goes meanwhile is counted too. Files that are told as bare are to be put in again.
        """
        done, wrong, bare = await self._call(COUNT_LUA, project, most)
        return Counted(done=bool(done), wrong=wrong, bare=tuple(id.decode() for id in bare))


def _sum(sums: Mapping[str, Any], storage: str) -> Sum:
    return Sum(files=sums.get(f"files:{storage}", 0), bytes=sums.get(f"bytes:{storage}", 0))
