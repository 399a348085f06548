"""Work on many files: what is to be done, how far it is and how it ended, its try the turn of one worker.

What never changes of a haul is one text; how far it has come are fields beside it. A try holds its `turn`: who comes
with another one changes nothing, so that a worker believed dead ends nothing when it wakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from pipeline.errors import HaulNotFound
from pipeline.events import facts_text
from pipeline.model import Event, Haul, Problem, Reached
from pipeline.records.base import Room
from pipeline.records.queue import ENQUEUE_LUA, Slip

OPEN_LIFE = timedelta(days=28)
"""How long a haul is remembered that did not come to its end, which is as long as the queue remembers it."""
KEPT = timedelta(days=7)
"""How long it is known what became of one."""
UNTOLD = ("", "", "", "")
"""No event."""
MOVING = frozenset({"status", "reached", "tries", "error", "ended_at"})
"""What changes of a haul."""

HAUL_LUA = """
local function key(id) return P .. 'haul:' .. id end

-- Whether it has not ended and is still this turn; without one it may be anybody's.
local function is_turn(id, mine)
  local row = redis.call('HMGET', key(id), 'status', 'turn')
  return row[1] == 'pending' and (mine == '' or row[2] == mine)
end
"""

CREATE_LUA = (
    HAUL_LUA
    + ENQUEUE_LUA
    + """
local id, text, life, slip = take(), take(), take(), take_slip()
redis.call('HSET', key(id), 'text', text, 'status', 'pending')
redis.call('PEXPIRE', key(id), life)
enqueue(slip)
"""
)

GET_LUA = HAUL_LUA + "return redis.call('HGETALL', key(take()))"

BEGIN_LUA = (
    HAUL_LUA
    + """
local id, mine = take(), take()
if is_turn(id, '') then redis.call('HSET', key(id), 'turn', mine) end
return redis.call('HGETALL', key(id))
"""
)

MARK_LUA = (
    HAUL_LUA
    + """
local id, mine, reached, again = take(), take(), take(), take()
if not is_turn(id, mine) then return 0 end
redis.call('HSET', key(id), 'reached', reached)
if again == '1' then redis.call('HINCRBY', key(id), 'tries', 1) end
return 1
"""
)

END_LUA = (
    HAUL_LUA
    + """
local id, mine, status, at, life, reached, error = take(), take(), take(), take(), take(), take(), take()
if not is_turn(id, mine) then return 0 end
redis.call('HSET', key(id), 'status', status, 'ended_at', at, 'error', error, 'turn', '')
if reached ~= '' then redis.call('HSET', key(id), 'reached', reached) end
redis.call('PEXPIRE', key(id), life)
local type, project, subject, facts = take(), take(), take(), take()
if type ~= '' then emit(type, project, subject, at, facts) end
ring(id)
return 1
"""
)


class Hauls(Room):
    """The hauls of every project."""

    async def create(self, haul: Haul, slip: Slip) -> None:
        """Keep a new one and put its slip into the queue in one step."""
        text = haul.model_dump_json(exclude=set(MOVING))
        await self._call(CREATE_LUA, haul.id, text, _milliseconds(OPEN_LIFE), *slip)

    async def get(self, haul_id: str) -> Haul:
        """The haul as it stands; raises `HaulNotFound`, also when it ended some time ago."""
        return _read(haul_id, await self._call(GET_LUA, haul_id))

    async def begin(self, haul_id: str, turn: str) -> Haul:
        """Begin a try under `turn`, which ends that of any other; one that has ended is answered as it is.

        Raises `HaulNotFound`.
        """
        return _read(haul_id, await self._call(BEGIN_LUA, haul_id, turn))

    async def mark(self, haul_id: str, turn: str, reached: Reached, *, again: bool = False) -> bool:
        """Note how far the try is; False, and nothing noted, when it is not its turn any more.

        `again` counts one that is to be done once more from there.
        """
        return bool(await self._call(MARK_LUA, haul_id, turn, reached.model_dump_json(), int(again)))

    async def complete(
        self, haul_id: str, turn: str, reached: Reached, at: datetime, event: Event | None = None
    ) -> bool:
        """End it, with an event if it has one, and tell whoever waits; False when it is not its turn any more."""
        ends = ("completed", at.isoformat(), _milliseconds(KEPT), reached.model_dump_json(), "")
        told = (event.type, event.project, event.subject, facts_text(event.facts)) if event else UNTOLD
        return bool(await self._call(END_LUA, haul_id, turn, *ends, *told))

    async def fail(self, haul_id: str, turn: str, problem: Problem, at: datetime) -> bool:
        """End it with what it failed for as a whole; without a turn, whosever it is. False when it had ended."""
        ends = ("failed", at.isoformat(), _milliseconds(KEPT), "", problem.model_dump_json())
        return bool(await self._call(END_LUA, haul_id, turn, *ends, *UNTOLD))


def _milliseconds(span: timedelta) -> int:
    return int(span / timedelta(milliseconds=1))


def _read(haul_id: str, row: Sequence[bytes]) -> Haul:
    if not row:
        raise HaulNotFound(id=haul_id[:64])
    fields = dict(zip(row[::2], row[1::2], strict=True))
    told: dict[str, Any] = orjson.loads(fields[b"text"])
    for name in ("status", "tries", "ended_at"):
        if text := fields.get(name.encode()):
            told[name] = text.decode()
    for name in ("reached", "error"):
        if text := fields.get(name.encode()):
            told[name] = orjson.loads(text)
    return Haul.model_validate(told)
