"""Groups of files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipeline.errors import GroupNotFound
from pipeline.events import facts_text
from pipeline.model import Group, Page, now
from pipeline.records.base import LIST_LUA, Room, decode_cursor, paged, score

CREATE_LUA = """
local id, project, text, created, at, facts = take(), take(), take(), take(), take(), take()
if redis.call('EXISTS', P .. 'group:' .. id) == 1 then return end
redis.call('SET', P .. 'group:' .. id, text)
redis.call('ZADD', P .. 'groups:' .. project, created, id)
emit('group.created', project, id, at, facts)
"""

DELETE_LUA = """
local id, at = take(), take()
local text = redis.call('GET', P .. 'group:' .. id)
if not text then return 0 end
local project = cjson.decode(text).project
redis.call('DEL', P .. 'group:' .. id)
redis.call('ZREM', P .. 'groups:' .. project, id)
redis.call('PUBLISH', P .. 'changed', id)
emit('group.deleted', project, id, at, '{}')
return 1
"""


WITHIN_LUA = """
local project, verb, from, to, rows = take(), take(), take(), take(), {}
local index = P .. 'groups:' .. project
for _, id in ipairs(redis.call(verb, index, from, to, 'LIMIT', take(), take())) do
  rows[#rows + 1] = redis.call('GET', P .. 'group:' .. id)
end
return {redis.call('ZCARD', index), rows}
"""


class Groups(Room):
    """The groups that can be asked for."""

    async def create(self, group: Group) -> None:
        """Keep a new group; one of that id which is already there stays as it is."""
        facts = facts_text({"files": len(group.files)})
        known = (group.id, group.project, group.model_dump_json(), score(group.created_at))
        await self._call(CREATE_LUA, *known, group.created_at.isoformat(), facts)

    async def get(self, group_id: str) -> Group:
        """The group; raises `GroupNotFound`."""
        text = await self._client.get(self._key("group", group_id))
        if text is None:
            raise GroupNotFound(id=group_id)
        return Group.model_validate_json(text)

    async def delete(self, group_id: str) -> bool:
        """Forget the group; whether it was there."""
        return bool(await self._call(DELETE_LUA, group_id, now().isoformat()))

    async def list(self, project: str, cursor: str | None = None, limit: int = 50) -> Page[Group]:
        """The groups of a project, newest first; raises `CursorInvalid`."""
        place = decode_cursor(cursor)
        rows = await self._call(LIST_LUA, f"groups:{project}", "group:", *place, limit + 1)
        return paged(rows, limit, Group.model_validate_json)

    async def within(
        self, project: str, since: datetime | None, *, down: bool, passed: int, limit: int
    ) -> tuple[int, Sequence[Group]]:
        """How many there are, and those made from `since` on, or with `down` until then and the newest first.

        The first `passed` of them are left out.
        """
        start = ("+inf" if down else "-inf") if since is None else str(score(since))
        verb, end = ("ZREVRANGEBYSCORE", "-inf") if down else ("ZRANGEBYSCORE", "+inf")
        total, rows = await self._call(WITHIN_LUA, project, verb, start, end, passed, limit)
        return int(total), [Group.model_validate_json(text) for text in rows if text]
