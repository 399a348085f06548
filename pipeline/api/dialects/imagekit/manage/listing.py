"""`GET /v1/files`: files, their older versions and folders, a part of a list at a time, as a bare array.

Sorted by name, time of creation or size the list goes along an index; sorted by anything else, all that is found is
held and sorted, which at most `MOST` files may be. Folders come before files. A part far down the list begins where the
one before it ended, if that was asked for lately: then nothing before it is looked at again.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from pipeline.api.dialects.imagekit.errors import invalid, refused
from pipeline.api.dialects.imagekit.fields import fields_of
from pipeline.api.dialects.imagekit.manage.ask import Ask, told
from pipeline.api.dialects.imagekit.manage.folders import plain, rows
from pipeline.api.dialects.imagekit.manage.searching import Search, Seen
from pipeline.labels import folded
from pipeline.model import File, FileQuery, FileSort
from pipeline.records.base import score
from pipeline.records.finding import Order, Spot
from pipeline.vendors.imagekit import Document, Fields, file_document, is_image

LONGEST = 1000
"""Rows of one answer."""
AT_ONCE = 250
"""Files that one step looks at."""
FEWEST = 25
"""The same where fewer would do, for some may not be of the list."""
MOST = 10_000
"""Files that are looked at in vain for one answer, or sorted for it."""
FAR = 1000
"""How many files have to be passed over before it is remembered where a part ended."""
REMEMBERED = 600.0
"""Seconds."""
TOO_MANY = f"Your request looks at more than {MOST} files; narrow it down by path, tags, name, size or createdAt."

FILE, VERSION, FOLDER = "file", "file-version", "folder"
TYPES: Mapping[str, frozenset[str]] = {
    "file": frozenset({FILE}),
    "file-version": frozenset({VERSION}),
    "folder": frozenset({FOLDER}),
    "all": frozenset({FILE, FOLDER}),
}
EVERY = frozenset({FILE, VERSION, FOLDER})
FILE_TYPES = ("all", "image", "non-image")

INDEXED: Mapping[str, FileSort] = {
    "NAME": "name",
    "CREATED": "created",
    "SIZE": "size",
    "RELEVANCE": "created",
    "ORIGINAL_CREATION_DATE": "created",
}
"""What lists are sorted by along an index, and which; nothing here is scored, and files have no older date."""
HELD: Mapping[str, Callable[[Seen], Any]] = {
    "UPDATED": lambda seen: seen.updated_at,
    "HEIGHT": lambda seen: seen.measure("height"),
    "WIDTH": lambda seen: seen.measure("width"),
    "DURATION": lambda seen: seen.measure("duration"),
}
"""What else they are sorted by; what has no such value comes last."""


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    types: frozenset[str]
    sort: str
    down: bool
    limit: int
    skip: int
    query: FileQuery
    file_type: str = "all"
    folder: str | None = None
    name: str = ""
    search: Search | None = None

    def finds(self, seen: Seen) -> bool:
        """Whether something is to be in the list."""
        if seen.type not in self.types or (self.folder is not None and seen.folder != self.folder):
            return False
        if seen.file and self.file_type != "all" and is_image(seen.file) is not (self.file_type == "image"):
            return False
        if self.search:
            return self.search.finds(seen)
        return not self.name or seen.name == self.name

    @property
    def digest(self) -> str:
        """What stands for everything but the part of the list."""
        asked = (self.query.model_dump_json(), self.file_type, self.folder, self.search and self.search.text)
        told = (sorted(self.types), self.sort, self.down, *asked)
        return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()


async def listed(ask: Ask) -> web.Response:
    fields = await fields_of(ask.core, ask.project)
    wish = wish_of(ask, Search(ask.query("searchQuery"), fields) if ask.query("searchQuery") else None)
    folders = await _folders(ask, wish) if FOLDER in wish.types else []
    shown: list[Seen] = [*folders[wish.skip : wish.skip + wish.limit]]
    if wish.types - {FOLDER} and len(shown) < wish.limit:
        shown += await _files(ask, wish, max(0, wish.skip - len(folders)), wish.limit - len(shown))
    return told([_document(ask, one, fields) for one in shown])


def _document(ask: Ask, seen: Seen, fields: Fields) -> Document:
    if seen.row:
        return seen.row.document
    assert seen.file is not None
    return file_document(ask.call.base_url, seen.file, fields, type=seen.type)


# What is asked for


def wish_of(ask: Ask, search: Search | None) -> Wish:
    """The list that a query asks for; refused for what it cannot be."""
    down, sort = _sort(ask)
    file_type = _one_of(ask, "fileType", FILE_TYPES, "all")
    folder = plain(ask.query("path")) if ask.query("path") else None
    query = FileQuery(folder=folder, types=("image/*",) if file_type == "image" else ())
    if search:
        query = search.narrowed(query)
    elif words := [word.strip() for word in ask.query("tags").split(",") if word.strip()]:
        query = query.model_copy(update={"any_words": tuple(words)})
    name = "" if search else ask.query("name")
    if name:
        query = query.model_copy(update={"name": name})
    types = _types(ask) if search is None else EVERY if search.names_types else TYPES["file"]
    limit, skip = _number(ask, "limit", 1, LONGEST, LONGEST), _number(ask, "skip", 0, 10**9, 0)
    tagged = bool(ask.query("tags")) and search is None
    return Wish(types - {FOLDER} if tagged else types, sort, down, limit, skip, query, file_type, folder, name, search)


def _types(ask: Ask) -> frozenset[str]:
    if ask.query("includeFolder").lower() == "true" and not ask.query("type"):
        return TYPES["all"]
    return TYPES[_one_of(ask, "type", tuple(TYPES), "file")]


def _sort(ask: Ask) -> tuple[bool, str]:
    text = ask.query("sort") or "ASC_CREATED"
    direction, _, sort = text.partition("_")
    if direction not in ("ASC", "DESC") or (sort not in INDEXED and sort not in HELD):
        raise invalid("sort")
    return direction == "DESC", sort


def _one_of(ask: Ask, name: str, known: Sequence[str], usual: str) -> str:
    text = ask.query(name) or usual
    if text not in known:
        raise invalid(name, f"It should be one of {', '.join(known)}.")
    return text


def _number(ask: Ask, name: str, least: int, most: int, usual: int) -> int:
    text = ask.query(name)
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise invalid(name, f"It should be a number from {least} to {most}.")
    return int(text)


# Folders


async def _folders(ask: Ask, wish: Wish) -> list[Seen]:
    """Those to be in the list, all of them, in its order."""
    if wish.file_type != "all":
        return []
    found = [seen for row in await rows(ask) if wish.finds(seen := Seen(FOLDER, row=row))]
    if wish.sort == "NAME":
        return sorted(found, key=lambda seen: folded(seen.name), reverse=wish.down)
    if wish.sort in ("CREATED", "UPDATED", "RELEVANCE", "ORIGINAL_CREATION_DATE"):
        return sorted(found, key=lambda seen: seen.created_at, reverse=wish.down)
    return found


# Files


async def _files(ask: Ask, wish: Wish, skip: int, limit: int) -> list[Seen]:
    if wish.sort in INDEXED:
        return await _along(ask, wish, skip, limit)
    order, found = Order("created", down=False), list[Seen]()
    async for part in _steps(ask, wish, order, None, 0):
        found += part
        if len(found) > MOST:
            raise refused(TOO_MANY)
    return _sorted(wish, found)[skip : skip + limit]


def _sorted(wish: Wish, found: Sequence[Seen]) -> list[Seen]:
    read = HELD[wish.sort]
    keyed = [seen for seen in found if read(seen) is not None]
    return [
        *sorted(keyed, key=read, reverse=wish.down),
        *(seen for seen in found if read(seen) is None),
    ]


async def _along(ask: Ask, wish: Wish, skip: int, limit: int) -> list[Seen]:
    """The part of the list behind `skip` files, along the index it is sorted by."""
    order = Order(INDEXED[wish.sort], wish.down)
    cursor = await ask.records.notes.get(ask.project, _place(wish, skip)) if skip >= FAR else None
    passed, shown = (skip if cursor else 0), list[Seen]()
    async for part in _steps(ask, wish, order, cursor, skip - passed + limit):
        behind = max(0, skip - passed)
        shown += part[behind : behind + limit - len(shown)]
        passed += min(len(part), behind)
        if len(shown) == limit:
            break
    if len(shown) == limit and skip + limit >= FAR and (last := shown[-1].file):
        place = order.cursor(Spot(_key(order, last), last.id))
        await ask.records.notes.keep(ask.project, _place(wish, skip + limit), place, REMEMBERED)
    return shown


async def _steps(ask: Ask, wish: Wish, order: Order, cursor: str | None, wanted: int) -> AsyncIterator[Sequence[Seen]]:
    """The files of the list, some at a time; refused when too many are looked at that are not of it."""
    looked, count = 0, min(AT_ONCE, max(FEWEST, wanted)) if wanted else AT_ONCE
    while True:
        page = await ask.records.files.find(ask.project, wish.query, cursor, count, order)
        looked += len(page.items)
        yield await _sifted(ask, wish, page.items)
        cursor = page.next
        if cursor is None:
            return
        if looked - wanted > MOST:
            raise refused(TOO_MANY)


async def _sifted(ask: Ask, wish: Wish, files: Sequence[File]) -> list[Seen]:
    current = {file.id for file in await ask.records.lineages.current(files)}
    seen = [Seen(FILE if file.id in current else VERSION, file) for file in files]
    return [one for one in seen if wish.finds(one)]


def _key(order: Order, file: File) -> str:
    """Where a file stands in the index."""
    if order.by == "name":
        return folded(file.name)
    return str(file.size if order.by == "size" else score(file.created_at))


def _place(wish: Wish, skip: int) -> str:
    return f"imagekit.list:{wish.digest}:{skip}"
