"""What webhooks are to be told of: events that wait, in order, until they are dispatched, however old they get.

An event leaves in the very step that makes its deliveries, so none is lost and none is dispatched twice, whoever tries.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from pipeline.events import OUTGOING
from pipeline.model import Delivery
from pipeline.records.base import Argument, Room, flat
from pipeline.records.deliveries import CREATING_LUA, creation
from pipeline.records.queue import Slip
from pipeline.scripting import PATIENCE, RecordClient

BATCH = 100
"""Events read at once; dispatching them is one step of the server."""

DISPATCH_LUA = (
    CREATING_LUA
    + """
local made = 0
for _ = 1, tonumber(take()) do
  local waits = redis.call('XDEL', P .. OUTGOING, take()) == 1
  for _ = 1, tonumber(take()) do
    local delivery, slip = take_delivery(), take_slip()
    if waits then made = made + create(delivery, slip) end
  end
end
return made
"""
)

# The lease is a courtesy: two that dispatch at once are harmless.
LEAD_LUA = """
local key, who, lease = P .. 'webhooks:dispatcher', take(), take()
local leader = redis.call('GET', key)
if leader and leader ~= who then return 0 end
redis.call('SET', key, who, 'PX', lease)
return 1
"""

RESIGN_LUA = """
local key = P .. 'webhooks:dispatcher'
if redis.call('GET', key) == take() then redis.call('DEL', key) end
"""


class Leaving(NamedTuple):
    """An event that waits: its place, and what the log tells of it; `noun` is what it is about, if that is gone."""

    place: str
    event: str
    type: str
    project: str
    subject: str
    at: datetime
    facts: Mapping[str, Any]
    noun: Mapping[str, Any] | None


Made = Sequence[tuple[Delivery, bytes, Slip]]
"""Deliveries with their bodies and jobs."""


class Outgoing(Room):
    """The events that wait to be dispatched."""

    async def lead(self, who: str, seconds: float) -> bool:
        """Whether `who` is to dispatch now, for `seconds`; asking again while it is prolongs it."""
        return bool(await self._call(LEAD_LUA, who, int(seconds * 1000)))

    async def resign(self, who: str) -> None:
        """Let another dispatch at once."""
        await self._call(RESIGN_LUA, who)

    async def follow(self, idle: float) -> AsyncGenerator[Sequence[Leaving], None]:
        """All that waits, then what comes, some at a time; nothing when `idle` seconds pass.

        Waits on a connection of its own, given up when the generator is closed. What was not dispatched is there again
        for the next who follows.
        """
        stream, last = self._key(OUTGOING), "0-0"
        client = RecordClient.beside(self._client, idle + PATIENCE)
        try:
            while True:
                answer = await client.xread({stream: last}, count=BATCH, block=max(1, int(idle * 1000)))
                batch = [_leaving(entry) for entry in _entries(answer)]
                last = batch[-1].place if batch else last
                yield batch
        finally:
            await client.aclose()

    async def dispatch(self, made: Mapping[str, Made], life: float) -> int:
        """Let the events at these places go, with what is to be delivered of each; returns how many deliveries came.

        One that is not there any more was dispatched by somebody else. Deliveries are kept for `life` seconds.
        """
        words: list[Argument] = [int(life * 1000), len(made)]
        for place, deliveries in made.items():
            words += [place, *flat(creation(*each) for each in deliveries)]
        return int(await self._call(DISPATCH_LUA, *words))

    async def count(self) -> int:
        """How many events wait."""
        return int(await self._client.xlen(self._key(OUTGOING)))


def _entries(answer: Any) -> Sequence[Any]:
    # RESP3 answers a map of lists of batches, RESP2 a list of pairs.
    if isinstance(answer, dict):
        return [entry for batches in answer.values() for batch in batches for entry in batch]
    return answer[0][1] if answer else []


def _leaving(entry: Any) -> Leaving:
    place, fields = entry
    told = {name.decode(): value.decode() for name, value in fields.items()}
    return Leaving(
        place.decode(),
        told["event"],
        told["type"],
        told["project"],
        told["subject"],
        datetime.fromisoformat(told["at"]),
        orjson.loads(told["facts"]),
        orjson.loads(told["noun"]) if told["noun"] else None,
    )
