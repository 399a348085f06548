"""Whose turn it is to write to an upload or a file, by the record server's clock, so that hosts need not agree."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.records.base import Room

FORGOTTEN = 60_000
"""Milliseconds after which a turn that nobody prolonged or took over leaves no trace."""

# A turn ends when its holder gives it back, or when somebody else comes and it was not prolonged for a whole lease.
# Its number is the microsecond in which it was asked for, so that it is clear which of two requests is the newer one.
TAKE_LUA = """
local id, lease, turn, asks = take(), tonumber(take()), take(), take()
local key, time = P .. 'lock:' .. id, redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000)
if turn == '' then turn = time[1] .. string.format('%06d', time[2]) end
local held = redis.call('HMGET', key, 'turn', 'beat', 'wanted')
local left = held[1] and held[1] ~= turn and held[2] + lease - at or 0
if left > 0 then
  if asks == '1' and tonumber(turn) > tonumber(held[3] or 0) then
    redis.call('HSET', key, 'wanted', turn)
    redis.call('PUBLISH', P .. 'holds', 'wanted:' .. id)
  end
  return {turn, left}
end
redis.call('HSET', key, 'turn', turn, 'beat', at)
redis.call('PEXPIRE', key, FORGOTTEN)
return {turn, 0}
""".replace("FORGOTTEN", str(FORGOTTEN))

PROLONG_LUA = """
local key, turn, time = P .. 'lock:' .. take(), take(), redis.call('TIME')
local held = redis.call('HMGET', key, 'turn', 'wanted')
if held[1] ~= turn then return 'lost' end
redis.call('HSET', key, 'beat', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('PEXPIRE', key, FORGOTTEN)
if tonumber(held[2] or 0) > tonumber(turn) then return 'wanted' end
return 'ours'
""".replace("FORGOTTEN", str(FORGOTTEN))

GIVE_BACK_LUA = """
local id, turn = take(), take()
local key = P .. 'lock:' .. id
local held = redis.call('HMGET', key, 'turn', 'wanted')
if held[1] ~= turn then return end
redis.call('DEL', key)
if held[2] then redis.call('PUBLISH', P .. 'holds', 'free:' .. id) end
"""

Standing = Literal["ours", "wanted", "lost"]


class Taken(NamedTuple):
    """A turn, or the number of the one that waits; `left` are the seconds until it may come at the latest."""

    turn: int
    left: float = 0.0


class Holds(Room):
    """The turns that are being held."""

    async def take(self, id: str, lease: float, turn: int | None = None, *, asks: bool = False) -> Taken:
        """Have a turn at `id`, renewed within `lease` seconds each time; what waits is told how long it may take.

        `turn` is the number given by an earlier try. With `asks`, an older holder hears that a newer one waits.
        """
        given = await self._call(TAKE_LUA, id, int(lease * 1000), "" if turn is None else turn, "1" if asks else "")
        return Taken(int(given[0]), int(given[1]) / 1000)

    async def prolong(self, id: str, turn: int) -> Standing:
        """Hold on; says whether a newer request waits for it, or the turn is another's."""
        answer: Standing = (await self._call(PROLONG_LUA, id, turn)).decode()
        return answer

    async def give_back(self, id: str, turn: int) -> None:
        """Let others have their turn; nothing happens when they have it already."""
        await self._call(GIVE_BACK_LUA, id, turn)
