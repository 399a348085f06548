"""Groups of files."""

from __future__ import annotations

from pipeline.errors import GroupNotFound
from pipeline.model import Group, Page
from pipeline.records.base import LIST_LUA, Room, decode_cursor, paged, score

CREATE_LUA = """
local id, project, text, created = take(), take(), take(), take()
if redis.call('EXISTS', P .. 'group:' .. id) == 1 then return end
redis.call('SET', P .. 'group:' .. id, text)
redis.call('ZADD', P .. 'groups:' .. project, created, id)
"""


class Groups(Room):
    """The groups that can be asked for."""

    async def create(self, group: Group) -> None:
        """Keep a new group; one of that id which is already there stays as it is."""
        await self._call(CREATE_LUA, group.id, group.project, group.model_dump_json(), score(group.created_at))

    async def get(self, group_id: str) -> Group:
        """The group; raises `GroupNotFound`."""
        text = await self._client.get(self._key("group", group_id))
        if text is None:
            raise GroupNotFound(id=group_id)
        return Group.model_validate_json(text)

    async def list(self, project: str, cursor: str | None = None, limit: int = 50) -> Page[Group]:
        """The groups of a project, newest first; raises `CursorInvalid`."""
        place = decode_cursor(cursor)
        rows = await self._call(LIST_LUA, f"groups:{project}", "group:", *place, limit + 1)
        return paged(rows, limit, Group.model_validate_json)
