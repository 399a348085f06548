"""What a dialect keeps for a time under a name of its own, and numbers for vendors whose errands have numbers."""

from __future__ import annotations

from pipeline.records.base import Room


class Notes(Room):
    """Short texts by project and name."""

    async def number(self, project: str) -> int:
        """A number that no other call gets, from 1."""
        return int(await self._client.incr(self._key("notes", project, "", "number")))

    async def keep(self, project: str, name: str, text: str, seconds: float) -> None:
        """Keep `text`, over what was kept under the name before."""
        await self._client.execute_command("SET", self._key("note", project, name), text, "PX", int(seconds * 1000))

    async def get(self, project: str, name: str) -> str | None:
        """What is kept, None when there is nothing any more."""
        text: bytes | None = await self._client.get(self._key("note", project, name))
        return text.decode() if text else None
