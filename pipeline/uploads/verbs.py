"""The verbs of the upload core: begin, append, finish, accept, abort; a dialect only translates."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime

from pipeline.arrival import Arrival, Digest
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileTooLarge,
    FlowNotFound,
    FlowVersionNotFound,
    OffsetMismatch,
    RecordsUnavailable,
    SafelightError,
    SandboxClosed,
    ScannerUnavailable,
    ScanTooLarge,
    StorageFull,
    StorageUnavailable,
    SvgRefused,
    TypeMismatch,
    TypeNotAllowed,
    UploadBusy,
    UploadNotFound,
    UploadWayWrong,
)
from pipeline.model import File, Grant, Intake, Upload
from pipeline.records import Records
from pipeline.sniff import HEAD_SIZE
from pipeline.staging import Staging
from pipeline.storage.base import Storage
from pipeline.stored import delete_bytes
from pipeline.uploads.becoming import Becoming
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.holds import Hold, Holds
from pipeline.uploads.opening import Opening
from pipeline.uploads.progress import Progress

REFUSALS = (FileTooLarge, ScanTooLarge, BodyTooLong, TypeNotAllowed, TypeMismatch, SvgRefused)
"""What ends an upload for good while its bytes arrive."""
RESUMABLE = (
    BodyIncomplete,
    ScannerUnavailable,
    StorageUnavailable,
    StorageFull,
    RecordsUnavailable,
    SandboxClosed,
    FlowNotFound,
    FlowVersionNotFound,
)
"""What an upload survives when it is finished: more bytes may come, the fault may be over in a moment, or is ours."""

Opened = Callable[[Upload], Awaitable[None]]
Instead = Callable[[str], Awaitable[File | None]]


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
        progress: Progress,
    ) -> None:
        self._records = records
        self._storages = storages
        self._stagings = stagings
        self._opening = opening
        self._holds = holds
        self._becoming = becoming
        self._cleaning = cleaning
        self._progress = progress

    # The verbs

    async def begin(self, grant: Grant, intake: Intake) -> Upload:
        """Open an upload that takes its bytes in parts; raises `FileTooLarge` for a size declared beyond the limit."""
        upload = self._opening.upload(grant, await self._opening.narrowed(grant, intake))
        await self._opening.begin(grant, upload)
        return upload

    async def append(self, grant: Grant, id: str, offset: int, chunks: AsyncIterable[bytes]) -> Upload:
        """Add `chunks` at `offset` and return the upload as it stands; what came before a cut is kept.

        An older request that still writes to it is ended first. Raises `OffsetMismatch`, `UploadBusy`, `UploadExpired`,
        `UploadNotFound`, `UploadTakenOver` (a newer request came); a breach of a limit or a type rule ends the upload.
        """
        await self._opening.found(grant, id)
        async with self._holds.of(id) as hold:
            upload = await self.growing(grant, id, offset)
            return await self.write(hold, upload, Arrival(chunks, self._opening.rules(grant, upload.intake), offset))

    async def finish(self, grant: Grant, id: str) -> File:
        """Turn an upload whose bytes are all there into its File; sent again, it answers with the same File.

        Raises `BodyIncomplete` (the upload goes on) or whatever its bytes are refused for (the upload is gone).
        """
        try:
            await self._opening.found(grant, id)
            async with self._holds.of(id):
                return await self.become(grant, await self._opening.found(grant, id))
        except UploadNotFound:
            return await self._finished_before(grant, id)

    async def accept(
        self,
        grant: Grant,
        intake: Intake,
        chunks: AsyncIterable[bytes],
        *,
        opened: Opened | None = None,
        instead: Instead | None = None,
    ) -> File:
        """Take a whole file in one go; when this raises, or is cancelled, nothing of it is left.

        `opened` is told of the upload before it is on record or has bytes. When all have come, `instead` may answer to
        their sha256 with a file that is taken in the place of a new one.
        """
        intake = await self._opening.narrowed(grant, intake)
        arrival = Arrival(chunks, self._opening.rules(grant, intake), whole=True)
        await arrival.open()
        upload = self._opening.upload(grant, intake, arrival.media_type)
        if opened:
            await opened(upload)
        await self._opening.begin(grant, upload)
        try:
            await self._staging(upload).append(upload, 0, arrival, final=True)
            media_type, digest = arrival.media_type or "", await arrival.digest.hex()
            if instead and (file := await instead(digest)):
                await self._cleaning.quietly(self._forget(upload))
                return file
            await self._staging(upload).promote(upload, media_type)
            return await self._becoming.file(grant, upload, media_type, arrival.size, digest)
        except BaseException:
            await self._cleaning.quietly(self._forget(upload))
            raise

    async def abort(self, grant: Grant, id: str) -> None:
        """Forget an upload and everything that arrived of it; raises `UploadNotFound` or `UploadBusy`."""
        await self._opening.owned(grant, id)
        async with self._holds.of(id):
            upload = await self._opening.owned(grant, id)
            await self._cleaning.to_the_end(self._forget(upload))
            await self._count(upload, "aborted")

    async def get(self, grant: Grant, id: str) -> Upload:
        """The upload with the offset that is durably staged; raises `UploadNotFound` or `UploadExpired`."""
        upload = await self._opening.found(grant, id)
        aside = await self._storage(upload).stat(upload.key) if upload.piece else None
        offset = aside.size if aside else await self._staging(upload).offset(upload)
        if offset < upload.offset and not upload.piece and await self.is_promoted(upload):
            offset = upload.offset  # its end was begun, and can be again
        return upload.model_copy(update={"offset": offset})

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
        """Forget an upload that should have ended by `before`; whether it was for us to do.

        False when it is in use, or another worker was faster. Raises `StorageUnavailable`.
        """

        try:
            async with self._holds.of(id, patience=0):
                upload = await self._records.uploads.get(id)
                if due := upload.expires_at <= before:
                    await self._forget(upload)
                    await self._count(upload, "expired")
                return due
        except (UploadBusy, UploadNotFound):
            return False  # in use, or another worker was faster

    def _storage(self, upload: Upload) -> Storage:
        return self._storages[upload.storage]

    def _staging(self, upload: Upload) -> Staging:
        return self._stagings[upload.storage]

    # For those who hold it

    async def growing(self, grant: Grant, id: str, offset: int) -> Upload:
        """The upload, if it takes bytes at `offset`; raises `OffsetMismatch`, `UploadWayWrong` and what `get` does."""
        upload = await self.get(grant, id)
        if upload.way != "append":
            raise UploadWayWrong(id=id, way=upload.way)
        if offset != upload.offset:
            raise OffsetMismatch(expected=upload.offset, given=offset)
        return upload

    async def write(self, hold: Hold, upload: Upload, arrival: Arrival, *, final: bool = False) -> Upload:
        """Append and return the upload as it stands; `final` says that `become` follows with the same arrival."""
        try:
            async with hold.yielding():
                await arrival.open()
                staging = self._staging(upload)
                with self._progress.of(upload, arrival):
                    offset = await staging.append(upload, upload.offset, arrival, final=final, check=hold.check)
            if not final:
                hold.check()
                await self._records.uploads.advance(upload.id, offset)
                self._progress.landed(upload, offset)
            return upload.model_copy(update={"offset": offset})
        except REFUSALS:
            if hold.is_ours:
                await self._cleaning.quietly(self._forget(upload))
            raise
        except BaseException:
            await self._cleaning.quietly(self._note_offset(upload))
            raise

    async def become(self, grant: Grant, upload: Upload, arrival: Arrival | None = None) -> File:
        """The File that an upload with all its bytes becomes; with `arrival` they have come just now, all of them."""
        try:
            if arrival is None or not arrival.is_measured:
                return await self._finish(grant, upload)
            return await self._finish_measured(grant, upload, arrival)
        except RESUMABLE:
            await self._cleaning.quietly(self._settle(upload, arrival))
            raise
        except SafelightError:
            await self._cleaning.quietly(self._forget(upload))
            raise

    async def set_aside(self, upload: Upload) -> None:
        """Make the bytes of a piece such that they can be read as often as it is joined with others."""
        await self._staging(upload).promote(upload, "application/octet-stream")

    async def _note_offset(self, upload: Upload) -> None:
        await self._records.uploads.advance(upload.id, await self._staging(upload).offset(upload))

    async def is_promoted(self, upload: Upload) -> bool:
        """Whether all its bytes lie in their place already, by a try to finish that did not come to its end."""
        return await self._storage(upload).stat(upload.key) is not None

    async def _settle(self, upload: Upload, arrival: Arrival | None) -> None:
        """Note that all bytes are there, or make durable what was appended as if the end followed at once."""
        staging = self._staging(upload)
        if await self.is_promoted(upload):
            await self._records.uploads.advance(upload.id, upload.intake.declared_size or upload.offset)
        elif arrival is not None:
            await staging.append(upload, await staging.offset(upload), _nothing())

    async def _finish(self, grant: Grant, upload: Upload) -> File:
        rules, storage = self._opening.rules(grant, upload.intake), self._storage(upload)
        promoted = await storage.stat(upload.key)  # by an earlier try that did not come to its end
        size = promoted.size if promoted else await self._staging(upload).offset(upload)
        if not promoted:
            rules.check_end(size)
            await self._staging(upload).promote(upload, upload.intake.declared_type or "application/octet-stream")
        head, digest = await _read_through(storage.open(upload.key))
        return await self._becoming.file(grant, upload, rules.type_of(head), size, digest)

    async def _finish_measured(self, grant: Grant, upload: Upload, arrival: Arrival) -> File:
        """Without reading the bytes once more."""
        self._opening.rules(grant, upload.intake).check_end(arrival.size)
        media_type, digest = arrival.media_type or "", await arrival.digest.hex()
        await self._staging(upload).promote(upload, media_type)
        return await self._becoming.file(grant, upload, media_type, arrival.size, digest)

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

    async def _count(self, upload: Upload, outcome: str) -> None:
        with suppress(RecordsUnavailable):  # what was done is done, counted or not
            await self._records.series.count({("uploads", upload.intake.dialect, outcome): 1})


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in tuple[bytes, ...]():
        yield chunk


async def _read_through(chunks: AsyncIterator[bytes]) -> tuple[bytes, str]:
    head, digest = b"", Digest()
    async for chunk in chunks:
        if len(head) < HEAD_SIZE:
            head += chunk[: HEAD_SIZE - len(head)]
        await digest.add(chunk)
    return head, await digest.hex()
