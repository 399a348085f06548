"""Files by their paths: copied, moved and renamed, with their versions.

Where a file of that name is there already, what comes is appended to its versions and becomes the current one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid5

from pipeline.errors import PathTaken, VersionsTooMany
from pipeline.files import Copying, Files
from pipeline.model import Edit, File, Grant
from pipeline.records import Records
from pipeline.records.lineages import lineage_of
from pipeline.uploads import Holds
from pipeline.uploads.holds import Hold

MOST_VERSIONS = 100
"""Of one file."""


class Places:
    """The verbs on what lies at a path."""

    def __init__(self, records: Records, files: Files, holds: Holds) -> None:
        self._records = records
        self._files = files
        self._holds = holds

    def turn(self, project: str, folder: str, name: str) -> contextlib.AbstractAsyncContextManager[Hold]:
        """Have a path to oneself while the block runs, so that two files cannot both be the first there.

        Raises `UploadBusy`.
        """
        return self._holds.of(f"path:{project}:{folder}/{name}")

    async def copy(self, grant: Grant, versions: Sequence[File], folder: str, act: str = "") -> None:
        """Copy versions of one file, the current one last, into a folder; each of them once for the same `act`.

        Raises `VersionsTooMany`, `UploadBusy`, and what `Files.copy` does.
        """
        name, ids = versions[-1].name, [_copy_id(version, act) for version in versions]
        async with self.turn(grant.project.id, folder, name) as hold:
            known = {file.id for file in await self._records.files.get_many([id for id in ids if id]) if file}
            there = await self._versions_at(grant, folder, name)
            wanted = [(version, id) for version, id in zip(versions, ids, strict=True) if id not in known]
            _check(len(there) + len(wanted))
            lineage = lineage_of(there[-1]) if there else None
            last = max((one.version for one in there), default=0)
            for number, (version, id) in enumerate(wanted, last + 1):
                hold.check()
                kept = version.stored_at is not None
                wish = Copying(id=id, folder=folder, name=name, store=kept, lineage=lineage, version=number)
                lineage = lineage_of(await self._files.copy(grant, version.id, wish))

    async def move(self, grant: Grant, file: File, folder: str, name: str) -> None:
        """Move a file with all its versions to a path; what broke off half-way is gone on with.

        Raises `VersionsTooMany`, `UploadBusy`, and what `Files.edit` does.
        """
        async with self._turns(grant, (file.folder, file.name), (folder, name)) as holds:
            there = await self._versions_at(grant, folder, name)
            if not there or lineage_of(there[-1]) == lineage_of(file):
                return await self._edit(grant, file, Edit(folder=folder, name=name), holds)
            versions = await self._records.lineages.versions(grant.project.id, lineage_of(file))
            _check(len(there) + len(versions))
            for version in versions:
                _look(holds)
                await self._files.join(grant, version.id, lineage_of(there[-1]))
            return None

    async def rename(self, grant: Grant, file: File, name: str) -> None:
        """Give a file and its versions another name; raises `PathTaken` where another file has it, and `UploadBusy`."""
        async with self.turn(grant.project.id, file.folder, name) as hold:
            if await self._records.lineages.at(grant.project.id, file.folder, name):
                raise PathTaken(path=f"/{file.folder}/{name}" if file.folder else f"/{name}")
            await self._edit(grant, file, Edit(name=name), [hold])

    async def _edit(self, grant: Grant, file: File, edit: Edit, holds: Sequence[Hold]) -> None:
        """Change every version of a file alike, the current one last."""
        for version in await self._records.lineages.versions(grant.project.id, lineage_of(file)):
            _look(holds)
            await self._files.edit(grant, version.id, edit)

    async def _versions_at(self, grant: Grant, folder: str, name: str) -> Sequence[File]:
        """The versions of what lies at a path, the current one last."""
        there = await self._records.lineages.at(grant.project.id, folder, name)
        return await self._records.lineages.versions(grant.project.id, lineage_of(there)) if there else []

    @contextlib.asynccontextmanager
    async def _turns(self, grant: Grant, *paths: tuple[str, str]) -> AsyncIterator[Sequence[Hold]]:
        """Have several paths to oneself, always taken in the same order, so that two never wait for each other."""
        async with contextlib.AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(self.turn(grant.project.id, folder, name))
                for folder, name in sorted(set(paths))
            ]


def _copy_id(version: File, act: str) -> str | None:
    return str(uuid5(UUID(version.id), act)) if act else None


def _look(holds: Sequence[Hold]) -> None:
    for hold in holds:
        hold.check()


def _check(versions: int) -> None:
    if versions > MOST_VERSIONS:
        raise VersionsTooMany(most=MOST_VERSIONS)
