"""Folders as the vendor shows and names them; `/v1/folder` makes and deletes them."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import NamedTuple

from aiohttp import web

from pipeline import labels
from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import invalid, refused
from pipeline.api.dialects.imagekit.manage import hauls
from pipeline.api.dialects.imagekit.manage.ask import Ask, nothing, told
from pipeline.api.dialects.imagekit.paths import folder_of
from pipeline.model import FolderDelete
from pipeline.vendors.imagekit import Document, folder_document, folder_id

PATIENCE = 20.0
"""Seconds that a deletion waits for its end, so that what is small is gone when it is answered."""


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


async def target_of(ask: Ask, field: str) -> str:
    """The folder that a field names to put something into: one that is there, else by the rule for new ones."""
    path = ask.text(field)
    given, kept = plain(path), folder_of(path)
    return given if given == kept or await ask.shelving.folders.is_there(ask.project, given) else kept


async def rows(ask: Ask) -> list[Row]:
    """Every folder, by name."""
    found = await ask.shelving.folders.every(ask.project)
    return [Row(folder, folder_id(ask.project, folder), created) for folder, created in found.items()]


# Making and deleting


async def create(ask: Ask) -> web.Response:
    name = ask.text("folderName")
    if "/" in name:
        raise refused("folderName parameter cannot have a slash.")
    parent, own = await target_of(ask, "parentFolderPath"), folder_of(name)
    if not own:
        raise invalid("folderName")
    await settled(ask.shelving.folders.make(ask.project, labels.folder(f"{parent}/{own}")))
    return told({}, 201)


async def delete(ask: Ask) -> web.Response:
    path = ask.text("folderPath")
    folder = plain(path)
    if not folder:
        raise invalid("folderPath", "The root folder cannot be deleted.")
    if not await ask.shelving.folders.is_there(ask.project, folder):
        raise refused(f"No folder found with folderPath {path[:700]}", 404, reason="FOLDER_NOT_FOUND")
    haul = await hauls.awaited(ask, await ask.shelving.hauling.begin(ask.grant, FolderDelete(source=folder)), PATIENCE)
    if fault := haul.error or next((one.error for one in haul.reached.faults if haul.status == "completed"), None):
        raise refused(f"Not all of the folder could be deleted: {fault.message}", 500)
    return nothing()
