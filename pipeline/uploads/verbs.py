"""The verbs of the upload core: begin, append, finish, accept, abort; a dialect only translates."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from datetime import datetime

from pipeline.arrival import Arrival, Digest
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileTooLarge,
    OffsetMismatch,
    RecordsUnavailable,
    SafelightError,
    SandboxClosed,
    StorageFull,
    StorageUnavailable,
    TypeMismatch,
    TypeNotAllowed,
    UploadBusy,
    UploadNotFound,
)
from pipeline.model import File, Grant, Intake, Upload
from pipeline.records import Records
from pipeline.sniff import HEAD_SIZE
from pipeline.staging import Staging
from pipeline.storage.base import Storage
from pipeline.stored import delete_bytes
from pipeline.uploads.becoming import Becoming
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.holds import Holds
from pipeline.uploads.opening import Opening

REFUSALS = (FileTooLarge, BodyTooLong, TypeNotAllowed, TypeMismatch)
"""What ends an upload for good while its bytes arrive."""
RESUMABLE = (BodyIncomplete, StorageUnavailable, StorageFull, RecordsUnavailable, SandboxClosed)
"""What an upload survives when it is finished: more bytes may come, or the fault may be over in a moment."""


class Uploads:
    """Takes bytes in and answers with Files; a refused or failed one leaves nothing behind."""

    def __init__(
        self,
        *,
        records: Records,
        storages: Mapping[str, Storage],
        stagings: Mapping[str, Staging],
        opening: Opening,
        holds: Holds,
        becoming: Becoming,
        cleaning: Cleaning,
    ) -> None:
        self._records = records
        self._storages = storages
        self._stagings = stagings
        self._opening = opening
        self._holds = holds
        self._becoming = becoming
        self._cleaning = cleaning

    # The verbs

    async def begin(self, grant: Grant, intake: Intake) -> Upload:
        """Open an upload that takes its bytes in parts; raises `FileTooLarge` for a size declared beyond the limit."""
        upload = self._opening.upload(grant, intake)
        await self._records.uploads.create(upload)
        return upload

    async def append(self, grant: Grant, id: str, offset: int, chunks: AsyncIterable[bytes]) -> Upload:
        """Add `chunks` at `offset` and return the upload as it stands; what came before a cut is kept.

        Raises `OffsetMismatch`, `UploadBusy`, `UploadExpired`, `UploadNotFound`; a breach of a limit or a type rule
        ends the upload.
        """
        await self._opening.found(grant, id)
        async with self._holds.of(id):
            upload = await self.get(grant, id)
            if offset != upload.offset:
                raise OffsetMismatch(expected=upload.offset, given=offset)
            return await self._append(upload, Arrival(chunks, self._opening.rules(grant, upload.intake), offset))

    async def finish(self, grant: Grant, id: str) -> File:
        """Turn an upload whose bytes are all there into its File; sent again, it answers with the same File.

        Raises `BodyIncomplete` (the upload goes on) or whatever its bytes are refused for (the upload is gone).
        """
        try:
            await self._opening.found(grant, id)
            async with self._holds.of(id):
                return await self._finish_or_forget(grant, await self._opening.found(grant, id))
        except UploadNotFound:
            return await self._finished_before(grant, id)

    async def accept(self, grant: Grant, intake: Intake, chunks: AsyncIterable[bytes]) -> File:
        """Take a whole file in one go; when this raises, or is cancelled, nothing of it is left."""
        arrival = Arrival(chunks, self._opening.rules(grant, intake), whole=True)
        await arrival.open()
        upload = self._opening.upload(grant, intake, arrival.media_type)
        await self._records.uploads.create(upload)
        try:
            await self._staging(upload).append(upload, 0, arrival, final=True)
            media_type, digest = arrival.media_type or "", await arrival.digest.hex()
            await self._staging(upload).promote(upload, media_type)
            return await self._becoming.file(grant, upload, media_type, arrival.size, digest)
        except BaseException:
            await self._cleaning.quietly(self._forget(upload))
            raise

    async def abort(self, grant: Grant, id: str) -> None:
        """Forget an upload and everything that arrived of it; raises `UploadNotFound` or `UploadBusy`."""
        await self._opening.owned(grant, id)
        async with self._holds.of(id):
            await self._cleaning.to_the_end(self._forget(await self._opening.owned(grant, id)))

    async def get(self, grant: Grant, id: str) -> Upload:
        """The upload with the offset that is durably staged; raises `UploadNotFound` or `UploadExpired`."""
        upload = await self._opening.found(grant, id)
        return upload.model_copy(update={"offset": await self._staging(upload).offset(upload)})

    # What nobody came back for

    async def expire(self, id: str, before: datetime) -> bool:
        """Forget an upload that should have ended by `before`; whether it was for us to do.

        False when it is in use, or another worker was faster. Raises `StorageUnavailable`.
        """

        try:
            async with self._holds.of(id):
                upload = await self._records.uploads.get(id)
                if due := upload.expires_at <= before:
                    await self._forget(upload)
                return due
        except (UploadBusy, UploadNotFound):
            return False  # in use, or another worker was faster

    def _storage(self, upload: Upload) -> Storage:
        return self._storages[upload.storage]

    def _staging(self, upload: Upload) -> Staging:
        return self._stagings[upload.storage]

    # While they arrive

    async def _append(self, upload: Upload, arrival: Arrival) -> Upload:
        try:
            await arrival.open()
            offset = await self._staging(upload).append(upload, upload.offset, arrival)
            await self._records.uploads.advance(upload.id, offset)
            return upload.model_copy(update={"offset": offset})
        except REFUSALS:
            await self._cleaning.quietly(self._forget(upload))
            raise
        except BaseException:
            await self._cleaning.quietly(self._note_offset(upload))
            raise

    async def _note_offset(self, upload: Upload) -> None:
        await self._records.uploads.advance(upload.id, await self._staging(upload).offset(upload))

    # When they are all there

    async def _finish_or_forget(self, grant: Grant, upload: Upload) -> File:
        try:
            return await self._finish(grant, upload)
        except RESUMABLE:
            raise
        except SafelightError:
            await self._cleaning.quietly(self._forget(upload))
            raise

    async def _finish(self, grant: Grant, upload: Upload) -> File:
        rules, storage = self._opening.rules(grant, upload.intake), self._storage(upload)
        promoted = await storage.stat(upload.key)  # by an earlier try that did not come to its end
        size = promoted.size if promoted else await self._staging(upload).offset(upload)
        rules.check_end(size)
        if not promoted:
            await self._staging(upload).promote(upload, upload.intake.declared_type or "application/octet-stream")
        head, digest = await _read_through(storage.open(upload.key))
        return await self._becoming.file(grant, upload, rules.type_of(head), size, digest)

    async def _finished_before(self, grant: Grant, id: str) -> File:
        (file,) = await self._records.files.get_many([id])
        if file is None or file.project != grant.project.id:
            raise UploadNotFound(id=id)
        return file

    # Leaving nothing behind

    async def _forget(self, upload: Upload) -> None:
        """Remove an upload that did not become a File: bytes first, so that a record always leads to what is left."""
        if await self._becoming.is_file(upload.id):
            return
        await self._staging(upload).drop(upload)
        await delete_bytes(self._storage(upload), upload.key)
        await self._records.uploads.delete(upload.id)


async def _read_through(chunks: AsyncIterator[bytes]) -> tuple[bytes, str]:
    head, digest = b"", Digest()
    async for chunk in chunks:
        if len(head) < HEAD_SIZE:
            head += chunk[: HEAD_SIZE - len(head)]
        await digest.add(chunk)
    return head, await digest.hex()
