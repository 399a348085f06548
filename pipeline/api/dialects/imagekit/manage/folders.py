"""Folders: those that hold files are found by them, empty ones are noted; `/v1/folder` makes and deletes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from aiohttp import web

from pipeline import labels
from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import invalid, refused
from pipeline.api.dialects.imagekit.manage.ask import Ask, nothing, told
from pipeline.api.dialects.imagekit.paths import folder_of
from pipeline.errors import FileNotFound, SheetExists
from pipeline.model import FileQuery, Sheet
from pipeline.vendors.imagekit import Document, folder_document, folder_id

KIND = "imagekit.folder"
"""Of the sheets that note folders; their names are their paths, their bodies empty."""
NOTED_AT_ONCE = 500


class Row(NamedTuple):
    """A folder in a list."""

    folder: str
    id: str
    created_at: datetime

    @property
    def parent(self) -> str:
        return self.folder.rpartition("/")[0]

    @property
    def document(self) -> Document:
        return folder_document(self.folder, self.id, self.created_at)


# Looking


def plain(path: str) -> str:
    """The folder a path names, as it stands there."""
    return "/".join(part for part in unicodedata.normalize("NFC", path).split("/") if part.strip())


def is_within(folder: str, outer: str) -> bool:
    """Whether a folder is another one, or lies in it."""
    return not outer or folder == outer or folder.startswith(f"{outer}/")


async def is_there(ask: Ask, folder: str) -> bool:
    if not folder or await ask.records.sheets.named(ask.project, KIND, folder):
        return True
    return bool((await ask.records.files.find(ask.project, FileQuery(below=folder), None, 1)).items)


async def target_of(ask: Ask, field: str) -> str:
    """The folder that a field names to put something into: one that is there, else by the rule for new ones."""
    path = ask.text(field)
    given, kept = plain(path), folder_of(path)
    return given if given == kept or await is_there(ask, given) else kept


async def rows(ask: Ask) -> list[Row]:
    """Every folder, by name."""
    found = dict(await ask.records.files.tree(ask.project))
    for folder, sheet in (await noted(ask)).items():
        found[folder] = min(sheet.created_at, found.get(folder, sheet.created_at))
    return [Row(folder, folder_id(ask.project, folder), created) for folder, created in sorted(found.items())]


async def noted(ask: Ask) -> Mapping[str, Sheet]:
    """The folders that are noted, by their paths."""
    found: dict[str, Sheet] = {}
    cursor = None
    while True:
        page = await ask.records.sheets.list(ask.project, KIND, cursor, NOTED_AT_ONCE)
        found |= {sheet.name: sheet for sheet in page.items if sheet.name}
        cursor = page.next
        if cursor is None:
            return found


# Making and deleting


async def create(ask: Ask) -> web.Response:
    name = ask.text("folderName")
    if "/" in name:
        raise refused("folderName parameter cannot have a slash.")
    parent, own = await target_of(ask, "parentFolderPath"), folder_of(name)
    if not own:
        raise invalid("folderName")
    await settled(make(ask, labels.folder(f"{parent}/{own}")))
    return told({}, 201)


async def make(ask: Ask, folder: str) -> None:
    """Have a folder, and every one it lies in, whether or not there are files in it."""
    for one in labels.above(folder):
        with suppress(SheetExists):
            await ask.records.sheets.add(ask.project, KIND, folder_id(ask.project, one), {}, one)


async def delete(ask: Ask) -> web.Response:
    path = ask.text("folderPath")
    folder = plain(path)
    if not folder:
        raise invalid("folderPath", "The root folder cannot be deleted.")
    if not await is_there(ask, folder):
        raise refused(f"No folder found with folderPath {path[:700]}", 404, reason="FOLDER_NOT_FOUND")
    await settled(_emptied(ask, folder))
    return nothing()


async def _emptied(ask: Ask, folder: str) -> None:
    """Delete a folder and all that is in it; what somebody else deletes meanwhile is gone as well."""
    query, cursor = FileQuery(below=folder), None
    while True:
        outcomes, cursor = await ask.core.files.each_of(ask.grant, query, ask.core.files.delete, cursor)
        for outcome in outcomes:
            if outcome.error is not None and not isinstance(outcome.error, FileNotFound):
                raise outcome.error
        if cursor is None:
            break
    await forget(ask, folder)


async def forget(ask: Ask, folder: str) -> None:
    """Note no longer that there is this folder, and those in it."""
    for one, sheet in (await noted(ask)).items():
        if is_within(one, folder):
            await ask.records.sheets.delete(ask.project, KIND, sheet.id)
