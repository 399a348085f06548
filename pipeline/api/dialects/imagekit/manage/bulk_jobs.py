"""`/v1/bulkJobs`: folders copied, moved and renamed with all that is in them, and how far that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from pipeline import labels
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage import purging
from pipeline.api.dialects.imagekit.manage.ask import Ask, told
from pipeline.api.dialects.imagekit.manage.folders import forget, is_there, is_within, make, noted, plain, target_of
from pipeline.api.dialects.imagekit.manage.lasting import Doing, Work, begin, look, pause
from pipeline.api.dialects.imagekit.manage.placing import copied, moved
from pipeline.api.dialects.imagekit.paths import folder_of
from pipeline.errors import FileNotFound
from pipeline.files import BATCH, Act
from pipeline.model import Edit, File, FileQuery, Grant, now
from pipeline.records.finding import Order
from pipeline.records.lineages import lineage_of
from pipeline.vendors.imagekit import endpoint

SAME = "sourceFolderPath and destinationPath cannot be same."
INSIDE = "The destination folder cannot lie in the source folder."
OLDEST = Order("created", down=False)
TICK = timedelta(microseconds=1)


async def copy(ask: Ask) -> web.Response:
    source, target = await _source(ask, "sourceFolderPath"), await _target(ask)
    whole = ask.flag("includeVersions", "includeFileVersions")
    said = {"source": source, "target": target, "whole": whole, "begun": now().isoformat()}
    return _begun(await begin(ask, "COPY_FOLDER", said, _copy))


async def move(ask: Ask) -> web.Response:
    source, target = await _source(ask, "sourceFolderPath"), await _target(ask)
    if is_within(target, source):
        raise refused(INSIDE)
    return _begun(await begin(ask, "MOVE_FOLDER", {"source": source, "target": target}, _move))


async def rename(ask: Ask) -> web.Response:
    source, name = await _source(ask, "folderPath"), folder_of(ask.text("newFolderName").replace("/", "_"))
    purges, parent = ask.flag("purgeCache"), source.rpartition("/")[0]
    target = labels.folder(f"{parent}/{name}")
    if target != source and await is_there(ask, target):
        raise refused(f"Folder with name {name} already exists at the same location.", reason="FOLDER_ALREADY_EXISTS")
    said: dict[str, Any] = {"source": source, "target": target}
    if purges:
        url = f"{endpoint(ask.call.base_url, ask.project)}/{source}*"
        said["purge"] = (await purging.begin(ask, url)).id
    return _begun(await begin(ask, "RENAME_FOLDER", said, _move))


async def status(ask: Ask) -> web.Response:
    work = await look(ask, ask.call.place("id")[:64], TYPES)
    if work is None:
        raise refused("No job found for this jobId.", 404)
    shown = {"jobId": work.id, "type": work.type, "status": work.status}
    return told(shown | ({"purgeRequestId": work.said["purge"]} if work.said.get("purge") else {}))


def _begun(work: Work) -> web.Response:
    return told({"jobId": work.id})


async def _source(ask: Ask, field: str) -> str:
    path = ask.text(field)
    folder = plain(path)
    if not folder or not await is_there(ask, folder):
        raise refused(f"No files & folder found at {field} {path[:700]}", 404, reason="NO_FILES_FOLDER")
    return folder


async def _target(ask: Ask) -> str:
    """What the folder will be, which goes into the one that is named."""
    source, outer = plain(ask.text("sourceFolderPath")), await target_of(ask, "destinationPath")
    target = labels.folder(f"{outer}/{source.rpartition('/')[2]}")
    if source in (outer, target):
        raise refused(SAME)
    return target


# What is done


async def _copy(ask: Ask, work: Work) -> None:
    """Copy what was there when it was begun; what an earlier try has copied is passed over."""
    source, target, begun = work.said["source"], work.said["target"], datetime.fromisoformat(work.said["begun"])

    async def act(grant: Grant, id: str) -> File:
        file = await ask.core.files.get(grant, id)
        folder = _there(file.folder, source, target)
        made = await ask.records.lineages.at(ask.project, folder, file.name)
        if made is None or made.created_at < begun or made.sha256 != file.sha256:
            await copied(ask, file, folder, whole=work.said["whole"])
        return file

    for folder in await noted(ask):
        if is_within(folder, source):
            await make(ask, _there(folder, source, target))
    query, cursor = FileQuery(below=source, before=begun + TICK), None
    while True:
        page = await ask.records.files.find(ask.project, query, cursor, BATCH, OLDEST)
        await _each(ask, await ask.records.lineages.current(page.items), act)
        cursor = page.next
        if cursor is None:
            return
        pause(ask)


async def _move(ask: Ask, work: Work) -> None:
    """Move what is there until nothing is left."""
    source, target = work.said["source"], work.said["target"]
    if source == target:
        return

    async def act(grant: Grant, id: str) -> File:
        file = await ask.core.files.get(grant, id)
        current = await ask.records.lineages.get(ask.project, lineage_of(file))
        if is_within(current.folder, source):
            await moved(ask, current, _there(current.folder, source, target), current.name)
        elif is_within(file.folder, source):  # a version that was filed apart from the current one
            await ask.core.files.edit(grant, id, Edit(folder=current.folder))
        return file

    while page := (await ask.records.files.find(ask.project, FileQuery(below=source), None, BATCH, OLDEST)).items:
        await _each(ask, [*{lineage_of(file): file for file in page}.values()], act)
        pause(ask)
    for folder in await noted(ask):
        if is_within(folder, source):
            await make(ask, _there(folder, source, target))
    await forget(ask, source)


async def _each(ask: Ask, files: Sequence[File], act: Act) -> None:
    outcomes = await ask.core.files.each(ask.grant, [file.id for file in files], act) if files else []
    for outcome in outcomes:
        if outcome.error is not None and not isinstance(outcome.error, FileNotFound):
            raise outcome.error


def _there(folder: str, source: str, target: str) -> str:
    """Where a folder in the source is to be."""
    return target + folder[len(source) :]


TYPES: Mapping[str, Doing] = {"COPY_FOLDER": _copy, "MOVE_FOLDER": _move, "RENAME_FOLDER": _move}
