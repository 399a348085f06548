"""What becomes of files after they arrived: keep, edit, copy, delete, and the end of those that nobody came back for.

One request at a time changes a file. Its record changes first, then the manifest beside its bytes, and only then is
the change told of as done; a change sent again after a fault sees to the manifest too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from pipeline.editing import edited
from pipeline.errors import FileNotFound, RequestInvalid, SafelightError, StorageKeyNotFound, UploadBusy
from pipeline.labels import PLAIN, TagRule
from pipeline.model import Derivative, Edit, File, FileQuery, Grant, Intake, Upload, now
from pipeline.records import Records
from pipeline.records.lineages import lineage_of
from pipeline.scanning import Verdict
from pipeline.settings import Settings
from pipeline.storage.base import Storage
from pipeline.stored import delete_bytes, describe
from pipeline.uploads import Becoming, Cleaning, Holds, Opening, Vetting
from pipeline.uploads.becoming import starts_of

BATCH = 100
"""Files of one batch."""
AT_ONCE = 8
"""Files of a batch that are worked on at the same time."""


@dataclass(frozen=True)
class Copying:
    """How a copy is to differ from its source; what is None is as it was."""

    id: str | None = None
    """The id it has, which nothing else may have."""
    storage: str | None = None
    name: str | None = None
    folder: str | None = None
    store: bool | None = None
    """None follows the project's auto_store."""
    private: bool | None = None
    metadata: Mapping[str, str] | None = None
    tags: Sequence[str] | None = None
    lineage: str | None = None
    """The lineage it is to be the newest version of; None begins one."""
    version: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of one file of a batch: the file, or why not."""

    id: str
    file: File | None = None
    error: SafelightError | None = None


Act = Callable[[Grant, str], Awaitable[File]]


class Files:
    """The verbs on finished files."""

    def __init__(
        self,
        *,
        settings: Settings,
        records: Records,
        storages: Mapping[str, Storage],
        opening: Opening,
        holds: Holds,
        becoming: Becoming,
        vetting: Vetting,
        cleaning: Cleaning,
    ) -> None:
        self._settings = settings
        self._records = records
        self._storages = storages
        self._opening = opening
        self._holds = holds
        self._becoming = becoming
        self._vetting = vetting
        self._cleaning = cleaning

    async def get(self, grant: Grant, id: str) -> File:
        """The project's file; raises `FileNotFound`."""
        file = await self._records.files.get(id)
        if file.project != grant.project.id:
            raise FileNotFound(id=id)
        return file

    # Changing

    async def keep(self, grant: Grant, id: str) -> File:
        """Store a file for good; a second time changes nothing. Raises `FileNotFound`."""
        at, starts = now(), partial(starts_of, grant.project)
        file = await self._changed(grant, id, lambda: self._records.files.store(id, at, starts))
        if file.stored_at == at:
            await self._becoming.announce(grant, file)
        return file

    async def catch_up(self) -> int:
        """Start what is to start for files whose storing ended with a process; returns how many there were."""
        return await self._becoming.catch_up()

    async def unkeep(self, grant: Grant, id: str) -> File:
        """Let a file expire after `unstored_expiry`; one that is not stored expires when it did anyway."""
        at = await self._records.schedules.time()
        expires = at + timedelta(seconds=self._settings.unstored_expiry)
        return await self._changed(grant, id, lambda: self._records.files.unstore(id, at, expires))

    async def edit(self, grant: Grant, id: str, edit: Edit, rule: TagRule = PLAIN) -> File:
        """Change what a file is filed under, all of it or nothing; tags are put as `rule` has them.

        Raises `FileNotFound` and what `editing.edited` does.
        """
        at = now()
        return await self._changed(grant, id, lambda: self._records.files.change(id, edited(edit, at, rule), at))

    async def head(self, grant: Grant, id: str) -> File:
        """Make a version the current one of its lineage, under the path of the one before; raises `FileNotFound`."""
        file, at = await self.get(grant, id), now()
        lineage = lineage_of(file)
        current = await self._records.lineages.get(file.project, lineage)
        if current.id == id:
            return file
        place = {"folder": current.folder, "name": current.name, "lineage": lineage}
        fresh = place | {"headed_at": at, "updated_at": at}
        return await self._changed(
            grant, id, lambda: self._records.files.change(id, lambda old: old.model_copy(update=fresh), at)
        )

    async def join(self, grant: Grant, id: str, lineage: str) -> File:
        """Make a file the newest version of another lineage, under the path of that; raises `FileNotFound`."""
        file, at = await self.get(grant, id), now()
        versions = await self._records.lineages.versions(file.project, lineage)
        if not versions:
            raise FileNotFound(id=lineage)
        place = {"folder": versions[-1].folder, "name": versions[-1].name, "lineage": lineage}
        fresh = place | {"version": 1 + max(one.version for one in versions), "headed_at": at, "updated_at": at}
        return await self._changed(
            grant, id, lambda: self._records.files.change(id, lambda old: old.model_copy(update=fresh), at)
        )

    async def describe(self, grant: Grant, id: str) -> None:
        """Put what is on record of a file beside its bytes, where a change may have broken off between the two.

        Raises `FileNotFound`.
        """
        await self._changed(grant, id, lambda: self._records.files.get(id))

    async def redraw(self, grant: Grant, id: str) -> None:
        """Have everything that was made of a file made anew when it is asked for next; raises `FileNotFound`."""
        await self.get(grant, id)
        await self.drop_derivatives(id)
        await self._records.changes.call_out(id)

    async def scan(self, grant: Grant, id: str) -> Verdict:
        """Look for viruses in a file and note with it what was found, as the node `scan` does.

        Raises `FileNotFound`, `ScannerUnavailable` or `ScanTooLarge`.
        """
        file = await self.get(grant, id)
        verdict = await self._vetting.scan(file.project, self._storages[file.storage], file.key)
        found = {"clean": verdict.signature is None, "engine": verdict.engine}
        found |= {"signature": verdict.signature} if verdict.signature else {}
        await self._changed(grant, id, lambda: self._records.files.learn(id, {"scan": found}))
        return verdict

    async def copy(self, grant: Grant, id: str, wish: Copying | None = None) -> File:
        """A file of its own with the same bytes and facts; bytes stay where they are within one storage if they can.

        Raises `FileNotFound`, `QuotaExceeded`, what the wishes are refused for, and `StorageFull`.
        """
        return await self.duplicate(grant, await self.get(grant, id), wish or Copying())

    async def duplicate(self, grant: Grant, source: File, wish: Copying) -> File:
        """The same for a file that need not be on record, such as one made on the fly; its bytes must be there."""
        intake = self._intake(source, wish)
        self._opening.rules(grant, intake)
        upload = self._opening.made(grant, intake, id=wish.id)
        await self._opening.begin(grant, upload)
        try:
            await self._copy_bytes(source, upload)
            return await self._becoming.become(grant, self._copied(grant, source, upload))
        except StorageKeyNotFound as cause:
            await self._cleaning.quietly(self._forget(upload))
            raise FileNotFound(id=source.id) from cause
        except BaseException:
            await self._cleaning.quietly(self._forget(upload))
            raise

    async def delete(self, grant: Grant, id: str) -> File:
        """Remove a file: bytes, derivatives, manifest and record; raises `FileNotFound`, also the second time."""
        await self.get(grant, id)
        async with self._holds.of(id):
            file = await self.get(grant, id)
            await self._cleaning.to_the_end(self._remove(file))
            return file

    # Many at once

    async def each(self, grant: Grant, ids: Sequence[str], act: Act) -> list[Outcome]:
        """Do `act` to up to a hundred files; what befalls one of them is told with it and stops no other."""
        if not 0 < len(ids) <= BATCH:
            raise RequestInvalid(reason=f"Name 1 to {BATCH} files.")
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(id: str) -> Outcome:
            async with turns:
                return await _outcome(id, act(grant, id))

        known = dict.fromkeys(ids)
        done = dict(zip(known, await asyncio.gather(*map(one, known)), strict=True))
        return [done[id] for id in ids]

    async def each_of(
        self, grant: Grant, query: FileQuery, act: Act, cursor: str | None = None
    ) -> tuple[list[Outcome], str | None]:
        """Do `act` to the next hundred files looked for, and where to go on; None when that was all of them."""
        page = await self._records.files.find(grant.project.id, query, cursor, BATCH)
        ids = [file.id for file in page.items]
        return await self.each(grant, ids, act) if ids else [], page.next

    # What nobody came back for

    async def expire(self, id: str, before: datetime) -> bool:
        """Remove a file that nobody stored by `before`; whether it was for us to do. Raises `StorageUnavailable`."""
        return await self._expired(id, lambda file: file.expires_at is not None and file.expires_at <= before)

    async def expire_output(self, id: str, before: datetime) -> bool:
        """Remove an output made before `before`; whether it was for us to do. Raises `StorageUnavailable`."""
        return await self._expired(id, lambda file: file.run is not None and file.created_at < before)

    async def drop_derivatives(self, id: str) -> None:
        """Remove everything that was made of a file, which may be gone."""
        left = await self._records.derivatives.of(id)
        for derivative in left:
            if storage := self._storages.get(derivative.storage):
                await storage.delete(derivative.key)
        await self._records.derivatives.forget(id, [derivative.key for derivative in left])

    async def drop_derivative(self, id: str, key: str, derivative: Derivative | None) -> None:
        """Remove one thing that was made of a file; it can be made again."""
        # Its record first: who finds the one without the other has it made anew.
        await self._records.derivatives.forget(id, [key])
        if derivative is not None and (storage := self._storages.get(derivative.storage)):
            await storage.delete(key)

    async def _changed(self, grant: Grant, id: str, change: Callable[[], Awaitable[File]]) -> File:
        await self.get(grant, id)
        async with self._holds.of(id):
            file = await change()
            await describe(self._records.files, self._storages[file.storage], file)
            return file

    async def _remove(self, file: File) -> None:
        await self.drop_derivatives(file.id)
        await delete_bytes(self._storages[file.storage], file.key)
        await self._records.files.delete(file.id)
        await self.drop_derivatives(file.id)  # those that came meanwhile; none can be added now

    async def _expired(self, id: str, is_due: Callable[[File], bool]) -> bool:
        try:
            async with self._holds.of(id, patience=0):
                file = await self._records.files.get(id)
                if due := is_due(file):
                    await self._remove(file)
                return due
        except (UploadBusy, FileNotFound):
            return False  # in use, or another worker was faster

    # Copying

    def _intake(self, source: File, wish: Copying) -> Intake:
        storage = wish.storage or source.storage
        if storage not in self._storages:
            raise RequestInvalid(reason=f"There is no storage named `{storage[:64]}`.")
        return Intake(
            name=source.name if wish.name is None else wish.name,
            declared_type=source.mime,
            declared_size=source.size,
            metadata=source.metadata if wish.metadata is None else wish.metadata,
            tags=source.tags if wish.tags is None else tuple(wish.tags),
            folder=source.folder if wish.folder is None else wish.folder,
            region=source.region,
            store=wish.store,
            private=source.private if wish.private is None else wish.private,
            published=source.published,
            description=source.description,
            lineage=wish.lineage,
            version=wish.version,
            storage=storage,
        )

    async def _copy_bytes(self, source: File, upload: Upload) -> None:
        storage = self._storages[source.storage]
        if upload.storage == source.storage:
            await storage.copy(source.key, upload.key)
        else:
            target = self._storages[upload.storage]
            await target.put(upload.key, storage.open(source.key), source.size, source.mime)

    def _copied(self, grant: Grant, source: File, upload: Upload) -> File:
        file = self._becoming.drafted(grant, upload, source.mime, source.size, source.sha256, source.image)
        return file.model_copy(update={"facts": source.facts, "source": source.source})

    async def _forget(self, upload: Upload) -> None:
        if not await self._becoming.is_file(upload.id):
            await delete_bytes(self._storages[upload.storage], upload.key)
            await self._records.uploads.delete(upload.id)


async def _outcome(id: str, act: Awaitable[File]) -> Outcome:
    try:
        return Outcome(id, file=await act)
    except SafelightError as error:
        return Outcome(id, error=error)
