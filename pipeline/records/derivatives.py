"""What was made of files and can be made again, listed so that it goes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.model import Derivative
from pipeline.records.base import Room

ADD_LUA = """
local id, key, text = take(), take(), take()
if redis.call('EXISTS', P .. 'file:' .. id) == 0 then return 0 end
redis.call('HSET', P .. 'derivatives:' .. id, key, text)
return 1
"""


class Derivatives(Room):
    """The derivatives of each file."""

    async def add(self, file_id: str, derivative: Derivative) -> bool:
        """List bytes that are in storage already; False for a file that is gone, with which they are to go."""
        text = derivative.model_dump_json()
        return bool(await self._call(ADD_LUA, file_id, derivative.key, text))

    async def of(self, file_id: str) -> list[Derivative]:
        """Those of a file, which may be gone."""
        key = self._key("derivatives", file_id)
        rows: Mapping[bytes, bytes] = await self._client.execute_command("HGETALL", key)
        return [Derivative.model_validate_json(text) for _, text in sorted(rows.items())]

    async def forget(self, file_id: str, keys: Sequence[str]) -> None:
        """List no longer what was removed."""
        if keys:
            await self._client.execute_command("HDEL", self._key("derivatives", file_id), *keys)
