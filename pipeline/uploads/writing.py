"""What is done to an upload by the one who holds it: append, make it a File, or forget it and leave nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from hashlib import sha256

from pipeline.arrival import Arrival, Digest
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileTooLarge,
    FlowNotFound,
    FlowVersionNotFound,
    OffsetMismatch,
    PathInvalid,
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
    UploadWayWrong,
)
from pipeline.model import File, Grant, Upload
from pipeline.records import Records
from pipeline.sniff import HEAD_SIZE
from pipeline.staging import Staging
from pipeline.storage.base import Storage
from pipeline.stored import delete_bytes
from pipeline.uploads.becoming import Becoming, Look
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.holds import Hold
from pipeline.uploads.opening import Opening
from pipeline.uploads.progress import Progress

SMALL = 256 * 1024
"""Bodies of at most so many bytes are held until all of them have come, and then go straight to their place."""
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


class Writing:
    """The acts that the verbs are made of; whoever calls them has the upload's turn, but for `get`."""

    def __init__(
        self,
        *,
        records: Records,
        storages: Mapping[str, Storage],
        stagings: Mapping[str, Staging],
        opening: Opening,
        becoming: Becoming,
        cleaning: Cleaning,
        progress: Progress,
    ) -> None:
        self._records = records
        self._storages = storages
        self._stagings = stagings
        self._opening = opening
        self._becoming = becoming
        self._cleaning = cleaning
        self._progress = progress

    async def get(self, grant: Grant, id: str) -> Upload:
        """The upload with the offset that is durably staged; raises `UploadNotFound` or `UploadExpired`."""
        upload = await self._opening.found(grant, id)
        aside = await self._storage(upload).stat(upload.key) if upload.piece else None
        offset = aside.size if aside else await self._staging(upload).offset(upload)
        if offset < upload.offset and not upload.piece and (promoted := await self._storage(upload).stat(upload.key)):
            # Its end was begun, and can be again: of the last bytes nobody was told.
            known = upload.intake.declared_size
            offset = promoted.size if known is None else known
        return upload.model_copy(update={"offset": offset})

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
                await self._cleaning.quietly(self.forget(upload))
            raise
        except BaseException:
            await self._cleaning.quietly(self._note_offset(upload))
            raise

    async def become(
        self, grant: Grant, upload: Upload, arrival: Arrival | None = None, look: Look | None = None
    ) -> File:
        """The File that an upload with all its bytes becomes; with `arrival` they have come just now, all of them.

        What `look` raises ends the upload, as what its bytes are refused for does.
        """
        try:
            if arrival is None or not arrival.is_measured:
                return await self._finish(grant, upload, arrival, look)
            return await self._finish_measured(grant, upload, arrival)
        except RESUMABLE:
            await self._cleaning.quietly(self._settle(upload, arrival))
            raise
        except SafelightError as error:
            await self._cleaning.quietly(self._refuse(upload, error))
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

    async def _finish(self, grant: Grant, upload: Upload, arrival: Arrival | None, look: Look | None) -> File:
        rules, storage = self._opening.rules(grant, upload.intake), self._storage(upload)
        if arrival is None and (body := await self._small(upload)):
            with suppress(PathInvalid):  # an earlier try that came to no end has put them there
                return await self._finish_small(grant, upload, body, look)
        promoted = None if arrival else await storage.stat(upload.key)
        if promoted:
            size = promoted.size
        else:
            size = arrival.size if arrival else await self._staging(upload).offset(upload)
            rules.check_end(size)
            await self._staging(upload).promote(upload, upload.intake.declared_type or "application/octet-stream")
        head, digest = await _read_through(storage.open(upload.key))
        file = await self._becoming.file(grant, upload, rules.type_of(head), size, digest, look)
        if promoted:  # of a small one, what waited lies there still
            await self._cleaning.quietly(self._staging(upload).drop(upload))
        return file

    async def _small(self, upload: Upload) -> bytes | None:
        """All bytes that wait, if they are so few that they are written anew sooner than moved and read."""
        declared = upload.intake.declared_size
        if upload.way == "parts" or declared is None or declared > SMALL:
            return None
        return await self._staging(upload).read(upload, SMALL)

    async def _finish_small(self, grant: Grant, upload: Upload, body: bytes, look: Look | None) -> File:
        rules = self._opening.rules(grant, upload.intake)
        rules.check_end(len(body))
        media_type, digest = rules.type_of(body[:HEAD_SIZE]), sha256(body).hexdigest()
        file = await self._becoming.at_once(grant, upload, media_type, body, digest, look)
        await self._cleaning.quietly(self._staging(upload).drop(upload))
        return file

    async def _finish_measured(self, grant: Grant, upload: Upload, arrival: Arrival) -> File:
        """Without reading the bytes once more."""
        self._opening.rules(grant, upload.intake).check_end(arrival.size)
        media_type, digest = arrival.media_type or "", await arrival.digest.hex()
        await self._staging(upload).promote(upload, media_type)
        return await self._becoming.file(grant, upload, media_type, arrival.size, digest)

    async def forget(self, upload: Upload) -> None:
        """Remove an upload that did not become a File: bytes first, so that a record always leads to what is left."""
        if await self._emptied(upload):
            await self._records.uploads.delete(upload.id)

    async def _refuse(self, upload: Upload, error: SafelightError) -> None:
        """The same; why is remembered of those whose end somebody else asks for than who sent the bytes."""
        if upload.way == "append":
            await self.forget(upload)
        elif await self._emptied(upload):
            await self._records.failures.note(upload, error)

    async def _emptied(self, upload: Upload) -> bool:
        """Remove the bytes of an upload unless it is a File by now; whether it was none."""
        if await self._becoming.is_file(upload.id):
            return False
        await self._staging(upload).drop(upload)
        await delete_bytes(self._storage(upload), upload.key)
        return True

    def _storage(self, upload: Upload) -> Storage:
        return self._storages[upload.storage]

    def _staging(self, upload: Upload) -> Staging:
        return self._stagings[upload.storage]


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
