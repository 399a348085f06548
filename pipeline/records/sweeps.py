"""What each sweep did last and in all, and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson
from pydantic import Field

from pipeline.model import Noun
from pipeline.records.base import Room

NOTE_LUA = """
local name, gone, text = take(), take(), take()
redis.call('HSET', P .. 'sweeps:' .. name, 'last', text)
redis.call('HINCRBY', P .. 'sweeps:' .. name, 'total', gone)
redis.call('HINCRBY', P .. 'sweeps:' .. name, 'times', 1)
"""


class Swept(Noun):
    """What one sweep did."""

    gone: int = Field(default=0, description="What was removed; of a dry run, what would be.")
    postponed: int = Field(default=0, description="What could not be removed now; the next sweep comes back to it.")
    spared: int = Field(
        default=0, description="What is left alone: its record may be lost, or its storage is none of ours."
    )
    more: bool = Field(default=False, description="Whether it stopped before it had seen everything.")

    def __add__(self, other: Swept) -> Swept:
        return Swept(
            gone=self.gone + other.gone,
            postponed=self.postponed + other.postponed,
            spared=self.spared + other.spared,
            more=self.more or other.more,
        )


class SweepReport(Swept):
    """The last time a sweep was done, and what it removed in all."""

    at: datetime
    seconds: float = Field(description="How long it took.")
    total: int = Field(default=0, description="What it removed since the records began.")
    times: int = Field(default=0, description="How often it was done.")


class Sweeps(Room):
    """The sweeps by their names."""

    async def note(self, name: str, swept: Swept, at: datetime, seconds: float) -> None:
        """Keep what a sweep did."""
        text = orjson.dumps(swept.model_dump() | {"at": at, "seconds": round(seconds, 3)})
        await self._call(NOTE_LUA, name, swept.gone, text)

    async def report(self, name: str) -> SweepReport | None:
        """What the sweep did last, None when it was never done."""
        last, total, times = await self._client.execute_command(
            "HMGET", self._key("sweeps", name), "last", "total", "times"
        )
        if last is None:
            return None
        return SweepReport.model_validate(orjson.loads(last) | {"total": int(total), "times": int(times)})

    async def places(self, name: str) -> dict[str, str]:
        """Where the sweep goes on, by storage or project; one that begins anew is not there."""
        rows: Mapping[bytes, bytes] = await self._client.execute_command("HGETALL", self._key("sweeps", name, "places"))
        return {where.decode(): place.decode() for where, place in rows.items()}

    async def go_on(self, name: str, where: str, place: str | None) -> None:
        """Note where the sweep goes on the next time, None to begin anew."""
        key = self._key("sweeps", name, "places")
        if place is None:
            await self._client.execute_command("HDEL", key, where)
        else:
            await self._client.execute_command("HSET", key, where, place)
