"""What belongs together as a media: a file that was sent in with all that was made of it, or what is put together.

So every file of a project is in a media, by whichever API it came, and nothing is written down for that. A media that
was begun without a file is a document of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pipeline.api.dialects.ittybit.ask import Ask
from pipeline.api.dialects.ittybit.errors import Missing
from pipeline.core import Core
from pipeline.errors import FetchNotFound, SheetNotFound
from pipeline.model import Fetch, File, FileQuery, Grant, Sheet
from pipeline.records.finding import NEWEST, Order
from pipeline.vendors.ittybit.files import Media, metadata_of, own
from pipeline.vendors.ittybit.words import id_of

MEDIA = "ittybit.media"
ALIAS = "ittybit.alias"
MOST_FILES = 500
"""Of one media that are shown."""
OLDEST = Order("created", down=False)
SENT_IN = FileQuery(rooted=False, made=False)
"""What begins a media."""


async def find(ask: Ask, id: str) -> Media:
    """The media of this id; raises `Missing`."""
    media = await known(ask.call.core, ask.grant, id)
    if media is None:
        raise Missing(what="Media")
    return media


async def known(core: Core, grant: Grant, id: str) -> Media | None:
    """The media of this id, None when there is none."""
    (first,) = await core.records.files.get_many([id])
    if first is not None and first.project == grant.project.id and first.root is None:
        return await begun_by(core, grant, first)
    with suppress(SheetNotFound):
        return await told_by(core, await core.records.sheets.get(grant.project.id, MEDIA, id))
    files = await files_of(core, grant.project.id, id)
    if files:  # what it began with was deleted
        return Media(id, files[0].created_at, files[-1].created_at, files)
    fetch = await fetch_of(core, grant, id)
    if fetch is None or fetch.intake.root or fetch.file == id:
        return None
    if fetch.file:
        return await known(core, grant, fetch.file)
    return Media(id, fetch.created_at, fetch.ended_at, waits=fetch)


async def named(ask: Ask, text: Any) -> Media:
    """The media that an id in a request means; raises `Missing`."""
    id = id_of(text, "med") if isinstance(text, str) else None
    if id is None:
        raise Missing(what="Media")
    return await find(ask, id)


def alone(file: File) -> Media:
    """The media of a file of which nothing has been made yet."""
    return Media(file.id, file.created_at, file.updated_at, [file], None, own(file).get("media", {}), metadata_of(file))


async def begun_by(core: Core, grant: Grant, first: File) -> Media:
    """The media that begins with a file."""
    made = await files_of(core, grant.project.id, first.id)
    changed = max([first.updated_at or first.created_at, *(file.created_at for file in made)])
    return replace(alone(first), updated=changed, files=[first, *made])


async def told_by(core: Core, sheet: Sheet) -> Media:
    """The media that a document tells of."""
    files = await files_of(core, sheet.project, sheet.id)
    changed = max([sheet.updated_at, *(file.created_at for file in files)])
    props = {name: value for name, value in sheet.body.items() if name != "metadata"}
    return Media(sheet.id, sheet.created_at, changed, files, None, props, sheet.body.get("metadata", {}))


async def files_of(core: Core, project: str, root: str) -> Sequence[File]:
    """What was made of a file or put with a media, the oldest first."""
    return (await found(core, project, FileQuery(root=root), MOST_FILES, OLDEST))[:MOST_FILES]


async def found(core: Core, project: str, query: FileQuery, wanted: int, order: Order = NEWEST) -> list[File]:
    """The first files that are looked for, at least as many as are wanted if there are."""
    files: list[File] = []
    cursor = None
    while len(files) < wanted:
        page = await core.records.files.find(project, query, cursor, min(wanted - len(files), 500), order)
        files += page.items
        cursor = page.next
        if cursor is None:
            break
    return files


async def listed(ask: Ask, types: Sequence[str], *, down: bool) -> tuple[list[Media], int]:
    """The media of a page, of these types if there are any, and how many there are."""
    core, project, wanted = ask.call.core, ask.project, ask.page.wanted
    query = SENT_IN.model_copy(update={"types": tuple(types)})
    files = await found(core, project, query, wanted, Order("created", down))
    sheets = [] if types else await _sheets(core, project, wanted, down=down)
    rows: list[File | Sheet] = sorted([*files, *sheets], key=lambda row: row.created_at, reverse=down)
    shown = rows[ask.page.skipped : wanted]
    media = [begun_by(core, ask.grant, row) if isinstance(row, File) else told_by(core, row) for row in shown]
    count, _ = await core.records.files.count(project, query)
    told = 0 if types else await core.records.sheets.count(project, MEDIA)
    return list(await asyncio.gather(*media)), count + told


async def _sheets(core: Core, project: str, wanted: int, *, down: bool) -> list[Sheet]:
    if not down:
        return (await core.records.sheets.every(project, MEDIA))[:wanted]
    sheets: list[Sheet] = []
    cursor = None
    while len(sheets) < wanted:
        page = await core.records.sheets.list(project, MEDIA, cursor, min(wanted - len(sheets), 500))
        sheets += page.items
        cursor = page.next
        if cursor is None:
            break
    return sheets


async def fetch_of(core: Core, grant: Grant, id: str) -> Fetch | None:
    """The fetch that promised a file of this id, for as long as it is remembered."""
    with suppress(FetchNotFound):
        return await core.fetching.get(grant, id)
    return None
