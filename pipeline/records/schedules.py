"""When things that come again were last done: the ticks of flows, and the chores that workers share.

Times are the record server's, so that hosts need not agree on theirs. What a worker read of a flow's ticks it may
change only while it is still so, which makes every tick one worker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import Field

from pipeline.model import Noun, new_id
from pipeline.records.base import Room

SWAP_LUA = """
local key, flow, seen, text = P .. 'ticks', take(), take(), take()
if (redis.call('HGET', key, flow) or '') ~= seen then return 0 end
if text == '' then redis.call('HDEL', key, flow) else redis.call('HSET', key, flow, text) end
return 1
"""


class Due(Noun):
    """A tick that one worker has claimed, and the files its run is given."""

    tick: datetime
    run: str = Field(default_factory=new_id, description="The id that its run gets, whoever starts it.")
    files: tuple[str, ...] = ()
    taken: datetime = Field(description="Up to here the stored files are dealt with once the run is started.")


class Told(Noun):
    """What became of a tick: the run it started, or the code of the error for which there is none."""

    tick: datetime
    run: str | None = None
    refusal: str | None = None


class Ticks(Noun):
    """How far the schedule of a flow is."""

    spec: str = Field(description="The line and zone it is about; another one begins anew.")
    since: datetime = Field(description="Ticks up to here are dealt with.")
    taken: datetime = Field(description="Files stored up to here are dealt with.")
    due: Due | None = None
    told: Told | None = None


class Schedules(Room):
    """The ticks of flows, and who does a chore now."""

    async def time(self) -> datetime:
        """What time it is."""
        seconds, microseconds = await self._client.time()
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)

    async def ticks(self) -> dict[str, Ticks]:
        """How far the schedules of all flows are, by flow."""
        rows: Mapping[bytes, bytes] = await self._client.execute_command("HGETALL", self._key("ticks"))
        return {flow.decode(): Ticks.model_validate_json(text) for flow, text in rows.items()}

    async def tick(self, flow: str) -> Ticks | None:
        """How far the schedule of a flow is, None when no worker has seen it yet."""
        text: bytes | None = await self._client.execute_command("HGET", self._key("ticks"), flow)
        return Ticks.model_validate_json(text) if text else None

    async def swap(self, flow: str, seen: Ticks | None, ticks: Ticks | None) -> bool:
        """Put `ticks` in the place of what was `seen`, None for nothing; False when another was faster."""
        return bool(await self._call(SWAP_LUA, flow, _text(seen), _text(ticks)))

    async def claim(self, chore: str, seconds: float) -> bool:
        """Whether the chore is the caller's to do now; nobody else gets it within `seconds`."""
        return bool(await self._client.set(self._key("chore", chore), 1, nx=True, px=max(1, int(seconds * 1000))))


def _text(ticks: Ticks | None) -> str:
    return ticks.model_dump_json() if ticks else ""
