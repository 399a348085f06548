"""How files are found: a step looks at so many and no more, and tells where to go on.

Two ways lead to a page. One goes along an index that lies in the order asked for, the shortest that holds every file
looked for, and passes over what does not fit. Where a set is known to be small but lies in another order, all of it is
taken and sorted. Both know a place as sort key and id, so that a list may change its way between two pages, and files
may come and go meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pipeline.errors import CursorInvalid
from pipeline.labels import folded
from pipeline.model import Double, File, FileQuery, FileSort, Page
from pipeline.records.base import EPOCH, Argument, Room, cursor_of, flat, is_score, score, text_of
from pipeline.records.cards import CARDS_LUA, below_folder, described, found_word, in_folder, of_root, of_type, tagged
from pipeline.records.ways import COUNT_LUA, FIND_LUA

LOOKED = 250
"""Files that one step looks at."""
STEPS = 20
"""Steps that one page takes at most; then it is shorter than asked for, and the list goes on behind it."""
NAMED = 20
"""Ids that are told of files with the same bytes."""
COUNTED = 500
COUNT_STEPS = 100
"""The same for a count, which beyond them is a number there are at least."""

# From one content to the next, so that those that come often cost no more than others.
DOUBLES_LUA = (
    CARDS_LUA
    + """
local project, reached, limit, count, most = take(), take(), tonumber(take()), tonumber(take()), tonumber(take())
local hashes, rows = P .. 'hashes:' .. project, {}
for _ = 1, count do
  local behind = reached == '' and '-' or '(' .. reached .. ':\\255'
  local two = redis.call('ZRANGEBYLEX', hashes, behind, '+', 'LIMIT', 0, 2)
  if not two[1] then return {rows} end
  reached = two[1]:sub(1, 64)
  if two[2] and two[2]:sub(1, 64) == reached then
    if #rows == limit then return {rows, rows[#rows][1]} end
    local low, high, ids = '[' .. reached .. ':', '[' .. reached .. ':\\255', {}
    local members = redis.call('ZRANGEBYLEX', hashes, low, high, 'LIMIT', 0, most)
    for i, member in ipairs(members) do ids[i] = member:sub(66) end
    local card = card_of(project, ids[1])
    rows[#rows + 1] = {reached, card and card.size or 0, redis.call('ZLEXCOUNT', hashes, low, high), ids}
  end
end
return {rows, reached}
"""
)

# A folder's own folders come right behind it; what lies in those is leapt over.
FOLDERS_LUA = (
    CARDS_LUA
    + """
local project, root, reached, limit, rows = take(), take(), take(), tonumber(take()), {}
local folders = P .. 'folders:' .. project
local low = reached == '' and '[' .. root or '(' .. reached
while #rows < limit do
  local found = redis.call('ZRANGEBYLEX', folders, low, '(' .. root .. '\\255', 'LIMIT', 0, 1)[1]
  if not found then break end
  local deeper = string.find(found, '/', #root + 1, true)
  if deeper then low = '(' .. found:sub(1, deeper) .. '\\255'
  else
    rows[#rows + 1] = {found, redis.call('ZCARD', facet_key(project, 'below:' .. found))}
    low = '(' .. found
  end
end
return rows
"""
)

TREE_LUA = (
    CARDS_LUA
    + """
local project, root, limit, rows = take(), take(), take(), {}
local folders = P .. 'folders:' .. project
for i, found in ipairs(redis.call('ZRANGEBYLEX', folders, '[' .. root, '(' .. root .. '\\255', 'LIMIT', 0, limit)) do
  rows[i] = {found, redis.call('ZRANGE', facet_key(project, 'below:' .. found), 0, 0, 'WITHSCORES')[2]}
end
return rows
"""
)


class Spot(NamedTuple):
    """A place in a list: the sort key and id of a file that may be gone."""

    key: str = ""
    id: str = ""


class Order(NamedTuple):
    """What a list is sorted by, and which end comes first."""

    by: FileSort = "created"
    down: bool = True

    @property
    def arguments(self) -> tuple[Argument, Argument]:
        return self.by, int(self.down)

    def cursor(self, spot: Spot) -> str:
        return cursor_of(f"{self.by}\0{int(self.down)}\0{spot.key}\0{spot.id}")

    def spot(self, cursor: str | None) -> Spot:
        """The place a cursor stands for; raises `CursorInvalid`, also for one of another order."""
        if cursor is None:
            return Spot()
        by, _, rest = text_of(cursor).partition("\0")
        down, _, rest = rest.partition("\0")
        key, _, id = rest.partition("\0")
        known = (by, down) == (self.by, str(int(self.down))) and 0 < len(id) <= 64 and "\0" not in id
        if not known or not (self.by == "name" or is_score(key)):
            raise CursorInvalid
        return Spot(key, id)


NEWEST = Order()


def query_arguments(query: FileQuery) -> list[Argument]:
    """A query as `take_query` of the scripts takes it."""
    groups = _groups(query)
    given: list[Argument] = [len(groups)]
    for group in groups:
        given += [len(group), *group]
    given += flat([facet] for facet in _absent(query))
    for number in (query.min_size, query.max_size):
        given.append("" if number is None else number)
    for at in (query.since, query.before):
        given.append("" if at is None else score(at))
    return [*given, *(folded(text or "") for text in (query.name, query.prefix, query.part)), query.sha256 or ""]


def _groups(query: FileQuery) -> Sequence[Sequence[str]]:
    """Facets of which a file must have one from each group."""
    told = [described(key, value) for key, value in query.metadata.items()]
    groups = [[facet] for facet in (*map(tagged, query.tags), *told)]
    groups += [[*map(tagged, query.any_tags)], [] if "*/*" in query.types else [*map(of_type, query.types)]]
    groups.append([facet for word in query.any_words for facet in (tagged(word), found_word(word))])
    if query.folder is not None:
        groups.append([in_folder(query.folder)])
    if query.below:
        groups.append([below_folder(query.below)])
    if query.root:
        groups.append([of_root(query.root)])
    return [*filter(None, groups), *([state] for state, wanted in _states(query) if wanted)]


def _absent(query: FileQuery) -> Sequence[str]:
    return [state for state, wanted in _states(query) if wanted is False]


def _states(query: FileQuery) -> Sequence[tuple[str, bool | None]]:
    unstored = None if query.stored is None else not query.stored
    return [("unstored", unstored), ("private", query.private), ("made", query.made), ("rooted", query.rooted)]


class Finding(Room):
    """The files of a project, found by what is known of them."""

    async def find(
        self,
        project: str,
        query: FileQuery,
        cursor: str | None = None,
        limit: int = 50,
        order: Order = NEWEST,
    ) -> Page[File]:
        """A page of the files looked for; one that is not full may still have a next. Raises `CursorInvalid`."""
        spot, asked, rows = order.spot(cursor), query_arguments(query), list[Any]()
        for _ in range(STEPS):
            wanted = (project, *order.arguments, *spot, limit + 1 - len(rows), LOOKED, *asked)
            found, *last = await self._call(FIND_LUA, *wanted)
            rows += found
            if not last or len(rows) > limit:
                break
            spot = Spot(*(part.decode() for part in last))
        files = tuple(File.model_validate_json(text) for _, _, text in rows[:limit] if text is not None)
        if len(rows) > limit:
            id, key, _ = rows[limit - 1]
            return Page(items=files, next=order.cursor(Spot(key.decode(), id.decode())))
        return Page(items=files, next=order.cursor(spot) if last else None)

    async def count(self, project: str, query: FileQuery) -> tuple[int, bool]:
        """How many files are looked for, and whether that is all of them: False, when there may be more."""
        spot, asked, total = Spot(), query_arguments(query), 0
        for _ in range(COUNT_STEPS):
            (found, *last) = await self._call(COUNT_LUA, project, *NEWEST.arguments, *spot, COUNTED, *asked)
            total += found
            if not last:
                return total, True
            spot = Spot(*(part.decode() for part in last))
        return total, False

    async def totals(self, project: str) -> tuple[int, int]:
        """How many files there are, and how many of them are not stored."""
        keys = (self._key("files", project), self._key("files", project, "unstored"))
        every, unstored = [int(await self._client.zcard(key)) for key in keys]
        return every, unstored

    async def doubles(self, project: str, cursor: str | None = None, limit: int = 50) -> Page[Double]:
        """Files whose bytes are the same, by content; a page that is not full may have a next."""
        reached, rows = text_of(cursor) if cursor else "", list[Any]()
        for _ in range(STEPS):
            found, *last = await self._call(DOUBLES_LUA, project, reached, limit - len(rows), LOOKED, NAMED)
            rows += found
            reached = last[0].decode() if last else ""
            if not last or len(rows) == limit:
                break
        return Page(items=tuple(map(_double, rows)), next=cursor_of(reached) if reached else None)

    async def folders(
        self, project: str, folder: str = "", cursor: str | None = None, limit: int = 50
    ) -> Page[tuple[str, int]]:
        """The folders right in this one that hold files, and how many each has in it and below, by name."""
        root = f"{folder}/" if folder else ""
        rows = await self._call(FOLDERS_LUA, project, root, text_of(cursor) if cursor else "", limit + 1)
        shown = tuple((path.decode(), count) for path, count in rows[:limit])
        return Page(items=shown, next=cursor_of(shown[-1][0]) if len(rows) > limit else None)

    async def tree(self, project: str, folder: str = "", limit: int = 10_000) -> list[tuple[str, datetime]]:
        """Every folder in this one, however deep, that holds files, by name, and when its oldest file came."""
        rows = await self._call(TREE_LUA, project, f"{folder}/" if folder else "", limit)
        return [(path.decode(), EPOCH + timedelta(microseconds=int(oldest))) for path, oldest in rows if oldest]


def _double(row: Sequence[Any]) -> Double:
    sha256, size, count, ids = row
    return Double(sha256=sha256.decode(), size=size, count=count, files=tuple(id.decode() for id in ids))
