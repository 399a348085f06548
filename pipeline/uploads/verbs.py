"""The verbs of the upload core: begin, append, finish, accept, abort; a dialect only translates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from pipeline.arrival import Arrival
from pipeline.errors import RecordsUnavailable, SafelightError, UploadBusy, UploadNotFound
from pipeline.model import File, Grant, Intake, Project, Upload
from pipeline.records import Records
from pipeline.staging import Staging
from pipeline.storage.base import Storage
from pipeline.stored import delete_bytes
from pipeline.uploads.becoming import Becoming, Look
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.holds import Holds
from pipeline.uploads.opening import Opening
from pipeline.uploads.writing import SMALL, Writing

Opened = Callable[[Upload], Awaitable[None]]
Instead = Callable[[str], Awaitable[File | None]]


class Ended(NamedTuple):
    """The File of an upload, and whether another request had made it one."""

    file: File
    before: bool


class Uploads:
    """Takes bytes in and answers with Files; a refused or failed one leaves nothing behind."""

    def __init__(
        self,
        *,
        projects: Mapping[str, Project],
        records: Records,
        storages: Mapping[str, Storage],
        stagings: Mapping[str, Staging],
        opening: Opening,
        holds: Holds,
        becoming: Becoming,
        cleaning: Cleaning,
        writing: Writing,
    ) -> None:
        self._projects = projects
        self._records = records
        self._storages = storages
        self._stagings = stagings
        self._opening = opening
        self._holds = holds
        self._becoming = becoming
        self._cleaning = cleaning
        self._writing = writing

    # The verbs

    async def begin(self, grant: Grant, intake: Intake) -> Upload:
        """Open an upload that takes its bytes in parts; raises `FileTooLarge` for a size declared beyond the limit."""
        upload = self._opening.upload(grant, await self._opening.narrowed(grant, intake))
        await self._opening.begin(grant, upload)
        return upload

    def check(self, grant: Grant, intake: Intake) -> None:
        """Raise what a file with these claims would be refused for, whatever its bytes are."""
        self._opening.upload(grant, intake)

    async def append(self, grant: Grant, id: str, offset: int, chunks: AsyncIterable[bytes]) -> Upload:
        """Add `chunks` at `offset` and return the upload as it stands; what came before a cut is kept.

        An older request that still writes to it is ended first. Raises `OffsetMismatch`, `UploadBusy`, `UploadExpired`,
        `UploadNotFound`, `UploadTakenOver` (a newer request came); a breach of a limit or a type rule ends the upload.
        """
        await self._opening.found(grant, id)
        async with self._holds.of(id) as hold:
            upload = await self._writing.growing(grant, id, offset)
            arrival = Arrival(chunks, self._opening.rules(grant, upload.intake), offset)
            return await self._writing.write(hold, upload, arrival)

    async def finish(self, grant: Grant, id: str) -> File:
        """Turn an upload whose bytes are all there into its File; sent again, it answers with the same File.

        Raises `BodyIncomplete` (the upload goes on) or whatever its bytes are refused for (the upload is gone).
        """
        try:
            upload = await self._opening.found(grant, id)
        except UploadNotFound:
            return await self._finished_before(grant, id)
        return (await self.end(grant, upload)).file

    async def end(self, grant: Grant, upload: Upload, metadata: Mapping[str, str] | None = None) -> Ended:
        """The same of an upload that was found a moment ago; `metadata` takes the place of what it was begun with."""
        try:
            async with self._holds.of(upload.id):
                if metadata is not None:
                    await self._records.uploads.describe(upload.id, metadata)
                file = await self._writing.become(grant, await self._opening.found(grant, upload.id))
                return Ended(file, before=False)
        except UploadNotFound:
            return Ended(await self._finished_before(grant, upload.id), before=True)

    async def accept(
        self,
        grant: Grant,
        intake: Intake,
        chunks: AsyncIterable[bytes],
        *,
        opened: Opened | None = None,
        instead: Instead | None = None,
        look: Look | None = None,
        id: str | None = None,
    ) -> File:
        """Take a whole file in one go; when this raises, or is cancelled, nothing of it is left.

        It has `id`, if that is given, which nothing else may have.

        `opened` is told of the upload before it is on record or has bytes. When all have come, `instead` may answer to
        their sha256 with a file that is taken in the place of a new one. `look` is shown the file when all is known of
        it and before anybody else can see it; it may raise.
        """
        intake = await self._opening.narrowed(grant, intake)
        arrival = Arrival(chunks, self._opening.rules(grant, intake), whole=True)
        await arrival.open()
        upload = self._opening.made(grant, intake, arrival.media_type, id)
        if opened:
            await opened(upload)
        await self._begun(grant, upload)
        try:
            body = await arrival.held(SMALL)
            if body is None:
                await self._staging(upload).append(upload, 0, arrival, final=True)
            media_type, digest = arrival.media_type or "", await arrival.digest.hex()
            if instead and (file := await instead(digest)):
                await self._cleaning.quietly(self._writing.forget(upload))
                return file
            if body is not None:
                return await self._becoming.at_once(grant, upload, media_type, body, digest, look)
            await self._staging(upload).promote(upload, media_type)
            return await self._becoming.file(grant, upload, media_type, arrival.size, digest, look)
        except BaseException:
            await self._cleaning.quietly(self._writing.forget(upload))
            raise

    async def _begun(self, grant: Grant, upload: Upload) -> None:
        try:
            await self._opening.begin(grant, upload)
        except asyncio.CancelledError:  # it may be on record by now, and nobody knows its id
            await self._cleaning.quietly(self._writing.forget(upload))
            raise

    async def abort(self, grant: Grant, id: str) -> None:
        """Forget an upload and everything that arrived of it; raises `UploadNotFound` or `UploadBusy`."""
        await self._opening.owned(grant, id)
        async with self._holds.of(id):
            upload = await self._opening.owned(grant, id)
            await self._cleaning.to_the_end(self._writing.forget(upload))
            await self._count(upload, "aborted")

    async def get(self, grant: Grant, id: str) -> Upload:
        """The upload with the offset that is durably staged; raises `UploadNotFound` or `UploadExpired`."""
        return await self._writing.get(grant, id)

    async def known(self, grant: Grant, id: str) -> Upload:
        """The upload as it is on record, its bytes not looked at; raises `UploadNotFound` or `UploadExpired`."""
        return await self._opening.found(grant, id)

    async def is_promoted(self, upload: Upload) -> bool:
        """Whether all its bytes lie in their place already, by a try to finish that did not come to its end."""
        return await self._writing.is_promoted(upload)

    async def reclaim(self, id: str) -> File | None:
        """The File that an upload has become; one that has not never will, whoever may still be writing to it."""
        try:
            upload = await self._records.uploads.get(id)
        except UploadNotFound:
            upload = None
        if upload is not None:
            await self._records.uploads.delete(id)  # first: without it nothing can become a file
        (file,) = await self._records.files.get_many([id])
        if upload is not None and file is None:
            await self._staging(upload).drop(upload)
            await delete_bytes(self._storage(upload), upload.key)
        return file

    # What nobody came back for

    async def expire(self, id: str, before: datetime) -> bool:
        """Forget an upload that should have ended by `before`, or close it; whether it was for us to do.

        False when it is in use, or another worker was faster. Raises `StorageUnavailable`.
        """

        try:
            async with self._holds.of(id, patience=0):
                upload = await self._records.uploads.get(id)
                if due := upload.expires_at <= before:
                    outcome = "accepted" if await self._closed(upload) else "expired"
                    if outcome == "expired":
                        await self._writing.forget(upload)
                    await self._count(upload, outcome)
                return due
        except (UploadBusy, UploadNotFound):
            return False  # in use, or another worker was faster

    async def _closed(self, upload: Upload) -> bool:
        """Whether what has come of an upload is a file now, of one that closes by itself."""
        project = self._projects.get(upload.project)
        reached = await self._staging(upload).offset(upload) if project and upload.intake.closes else 0
        if project is None or not reached:
            return False
        size = await self._records.uploads.declare(upload.id, reached)
        intake = upload.intake.model_copy(update={"declared_size": size})
        whole = upload.model_copy(update={"intake": intake, "offset": reached})
        try:
            await self._writing.become(Grant(project=project), whole)
        except SafelightError as fault:
            if fault.retryable:
                raise
            return False
        return True

    def _storage(self, upload: Upload) -> Storage:
        return self._storages[upload.storage]

    def _staging(self, upload: Upload) -> Staging:
        return self._stagings[upload.storage]

    async def _finished_before(self, grant: Grant, id: str) -> File:
        (file,) = await self._records.files.get_many([id])
        if file is None or file.project != grant.project.id:
            raise UploadNotFound(id=id)
        return file

    async def _count(self, upload: Upload, outcome: str) -> None:
        with suppress(RecordsUnavailable):  # what was done is done, counted or not
            await self._records.series.count({("uploads", upload.intake.dialect, outcome): 1})
