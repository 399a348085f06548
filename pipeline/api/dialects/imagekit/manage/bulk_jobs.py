"""`/v1/bulkJobs`: folders copied, moved and renamed with all that is in them, and how far that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from pipeline import labels
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage import hauls, purging
from pipeline.api.dialects.imagekit.manage.ask import Ask, told
from pipeline.api.dialects.imagekit.manage.folders import plain, target_of
from pipeline.api.dialects.imagekit.manage.hauls import PURGE_ID, TYPE, status_of
from pipeline.api.dialects.imagekit.paths import folder_of
from pipeline.model import FolderCopy, FolderMove, Haul, Redraw
from pipeline.shelving import is_within

TYPES = ("COPY_FOLDER", "MOVE_FOLDER", "RENAME_FOLDER")
COPY, MOVE, RENAME = TYPES
SAME = "sourceFolderPath and destinationPath cannot be same."
INSIDE = "The destination folder cannot lie in the source folder."


async def copy(ask: Ask) -> web.Response:
    source, target = await _source(ask, "sourceFolderPath"), await _target(ask)
    whole = ask.flag("includeVersions", "includeFileVersions")
    return _begun(await hauls.begun(ask, COPY, FolderCopy(source=source, target=target, versions=whole)))


async def move(ask: Ask) -> web.Response:
    source, target = await _source(ask, "sourceFolderPath"), await _target(ask)
    if is_within(target, source):
        raise refused(INSIDE)
    return _begun(await hauls.begun(ask, MOVE, FolderMove(source=source, target=target)))


async def rename(ask: Ask) -> web.Response:
    source, name = await _source(ask, "folderPath"), folder_of(ask.text("newFolderName").replace("/", "_"))
    purges, parent = ask.flag("purgeCache"), source.rpartition("/")[0]
    target = labels.folder(f"{parent}/{name}")
    if target != source and await ask.shelving.folders.is_there(ask.project, target):
        raise refused(f"Folder with name {name} already exists at the same location.", reason="FOLDER_ALREADY_EXISTS")
    marks: dict[str, str] = {}
    if purges:
        marks[PURGE_ID] = (await purging.begun(ask, Redraw(path=f"/{source}/", every=True))).id
    return _begun(await hauls.begun(ask, RENAME, FolderMove(source=source, target=target), **marks))


async def status(ask: Ask) -> web.Response:
    """How far it is; what it could not be done to is told beside, which clients let pass."""
    haul = await hauls.found(ask, TYPES, "No job found for this jobId.", 404)
    shown = {"jobId": haul.id, "type": haul.marks[TYPE], "status": status_of(haul)}
    purge, errors = haul.marks.get(PURGE_ID), _errors(haul)
    return told(shown | ({"purgeRequestId": purge} if purge else {}) | ({"errors": errors} if errors else {}))


def _errors(haul: Haul) -> Sequence[Mapping[str, str]]:
    """The first hundred faults of one that has ended, each with the path where it was met."""
    if haul.status == "pending":
        return []
    faults = [{"path": fault.path, "error": fault.error.message} for fault in haul.reached.faults]
    return [*faults, {"error": haul.error.message}] if haul.error else faults


def _begun(haul: Haul) -> web.Response:
    return told({"jobId": haul.id})


async def _source(ask: Ask, field: str) -> str:
    path = ask.text(field)
    folder = plain(path)
    if not folder or not await ask.shelving.folders.is_there(ask.project, folder):
        raise refused(f"No files & folder found at {field} {path[:700]}", 404, reason="NO_FILES_FOLDER")
    return folder


async def _target(ask: Ask) -> str:
    """What the folder will be, which goes into the one that is named."""
    source, outer = plain(ask.text("sourceFolderPath")), await target_of(ask, "destinationPath")
    target = labels.folder(f"{outer}/{source.rpartition('/')[2]}")
    if source in (outer, target):
        raise refused(SAME)
    return target
