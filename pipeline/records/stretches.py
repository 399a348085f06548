"""Stretches of a file that come in any order and again: where each begins and ends, and which piece holds its bytes.

They belong to a name of the caller's choice. Once they were joined the name knows for a while which file they became
and which stretch came last, so that this one can be sent again when its answer was lost. Stretches that come in their
order may share one piece, the trunk of their name.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import StretchesTooMany
from pipeline.records.base import Room

MOST_STRETCHES = 1000
"""Of one file."""

STRETCH_LUA = """
local key = P .. 'stretches:' .. take()
local function place(number) return string.format('%.0f', number) end
"""

# What comes when its file is there already is of another file, but for the stretch that was the last.
NOTE_LUA = (
    STRETCH_LUA
    + f"""
local start, stop, piece, life = take(), take(), take(), take()
if redis.call('HEXISTS', key, 'file') == 1 then redis.call('DEL', key) end
local old, trunk = redis.call('HGET', key, start), redis.call('HGET', key, 'trunk')
if not old and redis.call('HLEN', key) - (trunk and 1 or 0) >= {MOST_STRETCHES} then return 'many' end
redis.call('HSET', key, start, stop .. ' ' .. piece)
redis.call('PEXPIRE', key, life)
old = old and string.match(old, '%S+$') or ''
return old ~= trunk and old or ''
"""
)

# Who comes first with one has it taken.
TRUNK_LUA = (
    STRETCH_LUA
    + """
local own, life = take(), take()
if own == '' then return redis.call('HGET', key, 'trunk') end
if redis.call('HEXISTS', key, 'file') == 1 then redis.call('DEL', key) end
redis.call('HSETNX', key, 'trunk', own)
redis.call('PEXPIRE', key, life)
return redis.call('HGET', key, 'trunk')
"""
)

DROP_LUA = STRETCH_LUA + "redis.call('DEL', key)"

DONE_LUA = (
    STRETCH_LUA
    + """
local row = redis.call('HMGET', key, 'file', 'last')
return row[1] and row[2] == take() and row[1]
"""
)

FILE_LUA = STRETCH_LUA + "return redis.call('HGET', key, 'file')"

STANDING_LUA = (
    STRETCH_LUA
    + """
local total, at, way, stops = tonumber(take()), 0, {}, {}
while at < total do
  local stop, piece = string.match(redis.call('HGET', key, place(at)) or '', '^(%d+) (%S+)$')
  if not stop then break end
  way[#way + 1], stops[#stops + 1], at = piece, stop, tonumber(stop)
end
local all = {}
for _, row in ipairs(redis.call('HVALS', key)) do all[#all + 1] = string.match(row, '%S+$') end
return {place(at), way, all, stops}
"""
)

SETTLE_LUA = (
    STRETCH_LUA
    + """
redis.call('DEL', key)
redis.call('HSET', key, 'file', take(), 'last', take())
redis.call('PEXPIRE', key, take())
"""
)


class Standing(NamedTuple):
    """How far the stretches reach from the beginning without a gap, the pieces on that way, and all there are.

    `stops` are the places behind the stretches on the way.
    """

    reach: int
    way: list[str]
    pieces: set[str]
    stops: list[int]


class Stretches(Room):
    """What is there of files that come so."""

    async def note(self, name: str, start: int, stop: int, piece: str, seconds: float) -> str | None:
        """Note that the bytes from `start` to before `stop` are in `piece`; returns what it replaces, but the trunk.

        All of them are forgotten `seconds` after the last. Raises `StretchesTooMany`.
        """
        told: bytes = await self._call(NOTE_LUA, name, start, stop, piece, int(seconds * 1000))
        if told == b"many":
            raise StretchesTooMany(most=MOST_STRETCHES)
        return told.decode() or None

    async def standing(self, name: str, total: int) -> Standing:
        """What is there of a file of `total` bytes."""
        reach, way, pieces, stops = await self._call(STANDING_LUA, name, total)
        known = {piece.decode() for piece in pieces}
        return Standing(int(reach), [piece.decode() for piece in way], known, [int(stop) for stop in stops])

    async def trunk(self, name: str, own: str = "", seconds: float = 0) -> str | None:
        """The piece that stretches share which come in their order; `own` is it from now on, if there is none."""
        told: bytes | None = await self._call(TRUNK_LUA, name, own, int(seconds * 1000))
        return told.decode() if told else None

    async def drop(self, name: str) -> None:
        """Forget all of it."""
        await self._call(DROP_LUA, name)

    async def settle(self, name: str, file: str, last: str, seconds: float) -> None:
        """Forget them for the file they became, the stretch `last` being the one that completed it."""
        await self._call(SETTLE_LUA, name, file, last, int(seconds * 1000))

    async def became(self, name: str, last: str | None = None) -> str | None:
        """The id of the file they became, if `last` was the stretch that completed it."""
        told: bytes | None = await (self._call(FILE_LUA, name) if last is None else self._call(DONE_LUA, name, last))
        return told.decode() if told else None
