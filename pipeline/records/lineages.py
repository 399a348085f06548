"""Which files are versions of one another, and which one is found at a path.

A file that replaces another shares its lineage: 24 hex digits, the first of the id of the file that was there first.
The current version is the one that became so last; the others stay what they are. A file that never was replaced is
the only version of a lineage that nothing need be written down for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from pipeline.errors import FileNotFound
from pipeline.model import File
from pipeline.records.base import Room
from pipeline.records.changes import HEED_LUA
from pipeline.records.files import read_file

LINEAGE = re.compile(r"[0-9a-f]{24}")
"""What a lineage looks like; the beginning of an id without its dashes does too."""
LOOKED = 100
"""Files at one path, or versions of one lineage, that are looked at."""

LINES_LUA = """
local function line_of(project, lineage) return P .. 'lineage:' .. project .. ':' .. lineage end

-- The file whose id begins so, which came before those that are written down.
local function first_of(project, start)
  return redis.call('ZRANGEBYLEX', P .. 'ids:' .. project, '[' .. start, '[' .. start .. '\\255', 'LIMIT', 0, 1)[1]
end

-- Every version, the current one last.
local function versions_of(project, lineage, start)
  local line, ids = line_of(project, lineage), {}
  local first = first_of(project, start)
  if first and not redis.call('ZSCORE', line, first) then ids[1] = first end
  for _, id in ipairs(redis.call('ZRANGE', line, 0, -1)) do ids[#ids + 1] = id end
  return ids
end

local function is_current(project, lineage, id)
  local last = redis.call('ZREVRANGE', line_of(project, lineage), 0, 0)[1]
  return not last or last == id
end
"""

VERSIONS_LUA = (
    LINES_LUA
    + """
local project, lineage, start, rows = take(), take(), take(), {}
for _, id in ipairs(versions_of(project, lineage, start)) do
  rows[#rows + 1] = redis.call('GET', P .. 'file:' .. id)
end
return rows
"""
)

CURRENT_LUA = (
    LINES_LUA
    + """
local project, rows = take(), {}
for i = 1, tonumber(take()) do rows[i] = is_current(project, take(), take()) and 1 or 0 end
return rows
"""
)

AT_LUA = (
    HEED_LUA
    + LINES_LUA
    + f"""
local project, path, heeded = take(), take(), take()
local low, high = '[' .. path .. '\\0', '[' .. path .. '\\0\\255'
for _, seat in ipairs(redis.call('ZREVRANGEBYLEX', P .. 'paths:' .. project, high, low, 'LIMIT', 0, {LOOKED})) do
  local text = redis.call('GET', P .. 'file:' .. seat:sub(-36))
  local file = text and cjson.decode(text)
  if file then
    local own = type(file.lineage) == 'string' and file.lineage or file.id:gsub('%-', ''):sub(1, 24)
    if is_current(project, own, file.id) then
      if heeded == '1' then heed(project, 'path:' .. path) end
      return text
    end
  end
end
return false
"""
)


def lineage_of(file: File) -> str:
    """24 hex digits that all versions of a file have in common."""
    return file.lineage or version_id(file)


def version_id(file: File) -> str:
    """24 hex digits that only this version has."""
    return file.id.replace("-", "")[:24]


class Lineages(Room):
    """The versions of files, and paths."""

    async def at(self, project: str, folder: str, name: str, heeded: bool = False) -> File | None:
        """The file at a path: of several that were sent there on their own the newest, of versions the current one.

        With `heeded`, who follows changes hears `path_word` when it may be another.
        """
        text = await self._call(AT_LUA, project, f"{folder}/{name}" if folder else name, int(heeded))
        return read_file(text) if text else None

    async def get(self, project: str, lineage: str) -> File:
        """The current version; raises `FileNotFound`."""
        versions = await self.versions(project, lineage)
        if not versions:
            raise FileNotFound(id=lineage[:64])
        return versions[-1]

    async def versions(self, project: str, lineage: str) -> list[File]:
        """Every version, the current one last; none of a lineage that is not there."""
        if not LINEAGE.fullmatch(lineage):
            return []
        start = "-".join(lineage[low:high] for low, high in pairwise((0, 8, 12, 16, 20, 24)))
        files = [read_file(text) for text in await self._call(VERSIONS_LUA, project, lineage, start) if text]
        return [file for file in files if lineage_of(file) == lineage]  # the first may have joined another since

    async def current(self, files: Sequence[File]) -> list[File]:
        """Those of the files of one project that nothing has replaced."""
        if not files:
            return []
        words = [word for file in files for word in (lineage_of(file), file.id)]
        flags = await self._call(CURRENT_LUA, files[0].project, len(files), *words)
        return [file for file, is_current in zip(files, flags, strict=True) if is_current]
