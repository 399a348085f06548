"""What may be used once, on whichever host it is shown first."""

from __future__ import annotations

from pipeline.records.base import Room

BURN_LUA = """
return redis.call('SET', P .. 'token:' .. take(), '1', 'NX', 'PX', take())
"""

RETURN_LUA = "return redis.call('DEL', P .. 'token:' .. take())"


class Tokens(Room):
    """Tokens by a name of the caller's choice, best a hash; each is remembered for as long as it could be shown."""

    async def burn(self, name: str, seconds: float) -> bool:
        """Use it up, to be remembered for `seconds`; False when it was used before."""
        return bool(await self._call(BURN_LUA, name, max(1, int(seconds * 1000))))

    async def is_burnt(self, name: str) -> bool:
        """Whether it was used up."""
        return bool(await self._client.exists(self._key("token", name)))

    async def give_back(self, name: str) -> None:
        """Let it be used after all; for who used it up only."""
        await self._call(RETURN_LUA, name)
