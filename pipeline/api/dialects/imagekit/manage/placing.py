"""Files by their paths: copied, moved and renamed, with their versions.

Where a file of that name is there already, what comes is appended to its versions and becomes the current one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage import purging
from pipeline.api.dialects.imagekit.manage.ask import Ask, nothing, told
from pipeline.api.dialects.imagekit.manage.folders import target_of
from pipeline.api.dialects.imagekit.paths import name_of, split, turn_at
from pipeline.files import Copying
from pipeline.model import Edit, File
from pipeline.records.lineages import lineage_of
from pipeline.vendors.imagekit import endpoint, path_of

MOST_VERSIONS = 100
"""Of one file."""
SAME = "sourceFilePath and destinationPath cannot be same."


async def copy(ask: Ask) -> web.Response:
    file, folder = await _file_at(ask, "sourceFilePath", "SOURCE_FILE_MISSING"), await target_of(ask, "destinationPath")
    whole = ask.flag("includeFileVersions", "includeVersions")
    if folder == file.folder:
        raise refused(SAME)
    await settled(copied(ask, file, folder, whole=whole))
    return nothing()


async def move(ask: Ask) -> web.Response:
    file, folder = await _file_at(ask, "sourceFilePath", "SOURCE_FILE_MISSING"), await target_of(ask, "destinationPath")
    if folder == file.folder:
        raise refused(SAME)
    await settled(moved(ask, file, folder, file.name))
    return nothing()


async def rename(ask: Ask) -> web.Response:
    file, name = await _file_at(ask, "filePath", "FILE_MISSING"), name_of(ask.text("newFileName"))
    old, purges = path_of(file), ask.flag("purgeCache")
    await settled(_renamed(ask, file, name))
    if not purges:
        return told({})
    work = await purging.begin(ask, f"{endpoint(ask.call.base_url, ask.project)}{old}*", lineage=lineage_of(file))
    return told({"purgeRequestId": work.id})


async def _file_at(ask: Ask, field: str, reason: str) -> File:
    path = ask.text(field)
    file = await ask.records.lineages.at(ask.project, *split(path))
    if file is None:
        raise refused(f"No file found with filePath {path[:900]}", 404, reason=reason)
    return file


async def _renamed(ask: Ask, file: File, name: str) -> None:
    async with turn_at(ask.core, ask.project, file.folder, name):
        if await ask.records.lineages.at(ask.project, file.folder, name):
            raise refused(
                f"File with name {name} already exists at the same location.", 409, reason="FILE_ALREADY_EXISTS"
            )
        await _edited(ask, file, Edit(name=name))


async def _edited(ask: Ask, file: File, edit: Edit) -> None:
    """Change every version of a file alike, the current one last."""
    for version in await ask.records.lineages.versions(ask.project, lineage_of(file)):
        await ask.core.files.edit(ask.grant, version.id, edit)


async def copied(ask: Ask, file: File, folder: str, *, whole: bool) -> None:
    """Copy a file into a folder, with `whole` all its versions; refused where that would be too many versions."""
    versions = await ask.records.lineages.versions(ask.project, lineage_of(file)) if whole else [file]
    async with turn_at(ask.core, ask.project, folder, file.name):
        there = await _versions_at(ask, folder, file.name)
        _check(there, versions)
        lineage = lineage_of(there[-1]) if there else None
        number = max((one.version for one in there), default=0)
        for version in versions:
            number += 1
            made = await ask.core.files.copy(
                ask.grant,
                version.id,
                Copying(
                    folder=folder,
                    name=file.name,
                    store=version.stored_at is not None,
                    lineage=lineage,
                    version=number,
                ),
            )
            lineage = lineage or lineage_of(made)


async def moved(ask: Ask, file: File, folder: str, name: str) -> None:
    """Move a file with all its versions to a path; refused where that would be too many versions."""
    async with _turns(ask, (file.folder, file.name), (folder, name)):
        there = await _versions_at(ask, folder, name)
        if not there or lineage_of(there[-1]) == lineage_of(file):
            return await _edited(ask, file, Edit(folder=folder, name=name))
        versions = await ask.records.lineages.versions(ask.project, lineage_of(file))
        _check(there, versions)
        for version in versions:
            await ask.core.files.join(ask.grant, version.id, lineage_of(there[-1]))
        return None


async def _versions_at(ask: Ask, folder: str, name: str) -> Sequence[File]:
    """The versions of what lies at a path, the current one last."""
    there = await ask.records.lineages.at(ask.project, folder, name)
    return await ask.records.lineages.versions(ask.project, lineage_of(there)) if there else []


def _check(there: Sequence[File], more: Sequence[File]) -> None:
    if len(there) + len(more) > MOST_VERSIONS:
        raise refused(f"A file can have a maximum of {MOST_VERSIONS} versions.")


@contextlib.asynccontextmanager
async def _turns(ask: Ask, *paths: tuple[str, str]) -> AsyncIterator[None]:
    """Have several paths to oneself, always in the same order, so that two who want them do not wait for each other."""
    async with contextlib.AsyncExitStack() as stack:
        for folder, name in sorted(set(paths)):
            await stack.enter_async_context(turn_at(ask.core, ask.project, folder, name))
        yield
