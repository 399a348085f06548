"""`/v1/files/copy`, `move` and `rename`: files by their paths, with their versions."""

from __future__ import annotations

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage import purging
from pipeline.api.dialects.imagekit.manage.ask import Ask, nothing, told
from pipeline.api.dialects.imagekit.manage.folders import target_of
from pipeline.api.dialects.imagekit.paths import name_of, split
from pipeline.errors import PathTaken
from pipeline.model import File, Redraw
from pipeline.records.lineages import lineage_of
from pipeline.vendors.imagekit import path_of

SAME = "sourceFilePath and destinationPath cannot be same."


async def copy(ask: Ask) -> web.Response:
    file, folder = await _file_at(ask, "sourceFilePath", "SOURCE_FILE_MISSING"), await target_of(ask, "destinationPath")
    whole = ask.flag("includeFileVersions", "includeVersions")
    if folder == file.folder:
        raise refused(SAME)
    versions = await ask.records.lineages.versions(ask.project, lineage_of(file)) if whole else [file]
    await settled(ask.shelving.places.copy(ask.grant, versions, folder))
    return nothing()


async def move(ask: Ask) -> web.Response:
    file, folder = await _file_at(ask, "sourceFilePath", "SOURCE_FILE_MISSING"), await target_of(ask, "destinationPath")
    if folder == file.folder:
        raise refused(SAME)
    await settled(ask.shelving.places.move(ask.grant, file, folder, file.name))
    return nothing()


async def rename(ask: Ask) -> web.Response:
    file, name = await _file_at(ask, "filePath", "FILE_MISSING"), name_of(ask.text("newFileName"))
    old, purges = path_of(file), ask.flag("purgeCache")
    try:
        await settled(ask.shelving.places.rename(ask.grant, file, name))
    except PathTaken as cause:
        taken = f"File with name {name} already exists at the same location."
        raise refused(taken, 409, reason="FILE_ALREADY_EXISTS") from cause
    if not purges:
        return told({})
    haul = await purging.begun(ask, Redraw(path=old, every=True, lineage=lineage_of(file)))
    return told({"purgeRequestId": haul.id})


async def _file_at(ask: Ask, field: str, reason: str) -> File:
    path = ask.text(field)
    file = await ask.records.lineages.at(ask.project, *split(path))
    if file is None:
        raise refused(f"No file found with filePath {path[:900]}", 404, reason=reason)
    return file
