"""Uploads in numbered parts and by one presigned PUT: absolute addresses anybody may be given, sizes fixed beforehand.

Where the storage has addresses of its own (S3), bytes go there and never pass through us; otherwise the addresses are
ours and sealed, so that they hold for one part of one upload, for a time. What counts in the end is what is staged.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline.arrival import Arrival
from pipeline.errors import (
    PartNumberInvalid,
    PartSizeInvalid,
    PartSizeWrong,
    PartsMissing,
    PutLengthWrong,
    PutTypeWrong,
    SizeRequired,
    UploadNotFound,
    UploadWayWrong,
)
from pipeline.model import File, Grant, Intake, Upload
from pipeline.records import Records
from pipeline.settings import Settings
from pipeline.signing import Seals
from pipeline.staging import Staging
from pipeline.uploads.holds import Holds
from pipeline.uploads.opening import Opening
from pipeline.uploads.progress import Progress
from pipeline.uploads.verbs import Ended, Uploads
from pipeline.uploads.writing import SMALL

PART_SIZE = 5 * 1024 * 1024
"""Bytes of each part but the last, unless the caller wants larger ones or there would be too many; S3 takes no less."""
LARGEST_PART = 5 * 1024 * 1024 * 1024
MOST_PARTS = 10_000
PART, PUT = "part", "put"
"""What the sealed addresses are for."""
ANY_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Slot:
    """One part: where it goes, the size it must have, and how much of it is there, bytes."""

    number: int
    size: int
    received: int = 0


class Parts:
    """Opens such uploads, gives out their addresses, takes what comes to ours, and sees that all of it is there."""

    def __init__(
        self,
        *,
        settings: Settings,
        records: Records,
        stagings: Mapping[str, Staging],
        opening: Opening,
        holds: Holds,
        uploads: Uploads,
        seals: Seals,
        progress: Progress,
    ) -> None:
        self._lasts = settings.upload_url_expiry
        self._records = records
        self._stagings = stagings
        self._opening = opening
        self._holds = holds
        self._uploads = uploads
        self._seals = seals
        self._progress = progress

    # Opening

    async def begin(self, grant: Grant, intake: Intake, part_size: int | None = None) -> Upload:
        """Open an upload in parts; raises `SizeRequired`, `FileTooLarge` or `PartSizeInvalid`."""
        size = _known_size(intake)
        wanted = part_size or max(PART_SIZE, -(-size // MOST_PARTS))
        if not PART_SIZE <= wanted <= LARGEST_PART or size > wanted * MOST_PARTS:
            raise PartSizeInvalid(least=PART_SIZE, most=LARGEST_PART, parts=MOST_PARTS)
        return await self._create(grant, intake, {"way": "parts", "part_size": wanted})

    async def begin_put(self, grant: Grant, intake: Intake) -> Upload:
        """Open an upload by one PUT of exactly the declared type and size; raises what `begin` does."""
        _known_size(intake)
        return await self._create(grant, intake, {"way": "put"})

    async def _create(self, grant: Grant, intake: Intake, way: Mapping[str, object]) -> Upload:
        upload = self._opening.upload(grant, await self._opening.narrowed(grant, intake)).model_copy(update=way)
        await self._opening.begin(grant, upload)
        return upload

    # Addresses

    async def url(
        self, upload: Upload, number: int, base: str, seconds: float | None = None, place: str = "/v1/parts/"
    ) -> str:
        """Where part `number` is to be put; `base` is where this server is reached. Raises `PartNumberInvalid`.

        It takes bytes for `seconds`, else for as long as the settings say. An address of ours is below `place`.
        """
        slot, lasts = slot_of(upload, number), seconds or self._lasts
        address = await self._staging(upload).part_url(upload, number, slot.size, lasts)
        return address or f"{base}{place}{self._sealed(PART, upload, number, lasts)}"

    async def put_url(self, upload: Upload, base: str) -> str:
        """Where all of it is to be put."""
        address = await self.storage_url(upload, self._lasts)
        return address or f"{base}/v1/put/{self._sealed(PUT, upload, 0, self._lasts)}"

    async def storage_url(self, upload: Upload, seconds: float) -> str | None:
        """Where all of it can be put for so long without us, None if there is no such address."""
        return await self._staging(upload).put_url(upload, put_type(upload), _known_size(upload.intake), seconds)

    def _sealed(self, purpose: str, upload: Upload, number: int, lasts: float) -> str:
        return self._seals.seal(purpose, upload.project, time.time() + lasts, {"id": upload.id, "part": number})

    def opened(self, purpose: str, token: str) -> tuple[Grant, str, int]:
        """Whom a sealed address of ours speaks for, the upload and the part; raises `SignatureInvalid`, ..."""
        project, claims = self._seals.open(purpose, token)
        return Grant(project=project), str(claims["id"]), int(claims["part"])

    # Arriving bytes

    async def put_part(
        self, grant: Grant, id: str, number: int, chunks: AsyncIterable[bytes], length: int | None
    ) -> None:
        """Take one part, all of it or nothing; sent again it replaces the earlier one.

        `length` is what the sender says of it. Raises `PartSizeWrong`, `PartNumberInvalid`, `UploadNotFound`,
        `UploadExpired`, and for the first part whatever its bytes are refused for.
        """
        upload = await self._of_way(grant, id, "parts")
        slot = slot_of(upload, number)
        if length is not None and length != slot.size:
            raise PartSizeWrong(number=number, size=length, wanted=slot.size)
        if number == 1:
            arrival = Arrival(chunks, self._opening.rules(grant, upload.intake))
            await arrival.open()
            chunks = arrival
        await self._staging(upload).part(upload, number, _exactly(chunks, slot))
        self._progress.gathered(upload, lambda: self._received(upload))

    async def put(
        self, grant: Grant, id: str, chunks: AsyncIterable[bytes], media_type: str | None, length: int | None
    ) -> None:
        """Take all of it at once; until it is finished, another PUT replaces the earlier one.

        Where the sender does not tell the length, what comes is measured. Raises `PutTypeWrong`, `PutLengthWrong`,
        `UploadBusy`, and whatever its bytes are refused for.
        """
        upload = await self._of_way(grant, id, "put")
        if media_type != put_type(upload):
            raise PutTypeWrong(wanted=put_type(upload))
        size = _known_size(upload.intake)
        if length is not None and length != size:
            raise PutLengthWrong(wanted=size)
        take = self._put_small if size <= SMALL else self._put_large
        await take(grant, upload, size, chunks)

    async def _put_large(self, grant: Grant, upload: Upload, size: int, chunks: AsyncIterable[bytes]) -> None:
        async with self._holds.of(upload.id):
            upload, staging = await self._of_way(grant, upload.id, "put"), self._staging(upload)
            arrival = Arrival(chunks, self._opening.rules(grant, upload.intake))
            await arrival.open()
            await staging.drop(upload)
            with self._progress.of(upload, arrival):
                await staging.append(upload, 0, arrival)
            if arrival.size != size:
                await staging.drop(upload)
                raise PutLengthWrong(wanted=size)
            await self._records.uploads.advance(upload.id, size)

    async def _put_small(self, grant: Grant, upload: Upload, size: int, chunks: AsyncIterable[bytes]) -> None:
        """Nobody need wait for his turn: the bytes are held until all have come, and take the others' place at once."""
        staging, arrival = self._staging(upload), Arrival(chunks, self._opening.rules(grant, upload.intake))
        await arrival.open()
        with self._progress.of(upload, arrival):
            body = b"".join([chunk async for chunk in arrival])
        if len(body) != size:
            raise PutLengthWrong(wanted=size)
        await staging.replace(upload, body)
        try:
            await self._landed(upload.id, size)
        except UploadNotFound:  # it came to its end meanwhile
            await staging.drop(upload)
            raise

    async def _landed(self, id: str, size: int) -> None:
        if not await self._records.uploads.land(id, size):
            async with self._holds.of(id):
                await self._records.uploads.advance(id, size)

    # When they are all there

    async def slots(self, grant: Grant, id: str) -> list[Slot]:
        """Every part and what is there of it; raises `UploadNotFound`, `UploadExpired` or `UploadWayWrong`."""
        upload = await self._of_way(grant, id, "parts")
        there, slots = await self._staging(upload).parts(upload), slots_of(upload)
        if not there and await self._uploads.is_promoted(upload):  # its end was begun, and can be again
            there = {slot.number: slot.size for slot in slots}
        return [Slot(slot.number, slot.size, there.get(slot.number, 0)) for slot in slots]

    async def finish(self, grant: Grant, id: str, tags: Mapping[int, str] | None = None) -> File:
        """The File that the bytes of any upload become; sent again, it answers with the same File.

        `tags` are the entity tags that parts were answered with: of a part that was sent again they say which counts.

        Raises `PartsMissing`, `PartSizeWrong` or `PartTagWrong` (the upload goes on), else what `Uploads.finish` does.
        """
        try:
            upload = await self._opening.found(grant, id)
        except UploadNotFound:  # it may be a File by now
            return await self._uploads.finish(grant, id)
        return (await self.end(grant, upload, tags)).file

    async def end(
        self,
        grant: Grant,
        upload: Upload,
        tags: Mapping[int, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Ended:
        """The same of an upload that was found a moment ago; `metadata` takes the place of what it was begun with."""
        if upload.way == "parts" and not await self._uploads.is_promoted(upload):
            with contextlib.suppress(UploadNotFound):
                await self._staging(upload).confirm(upload, tags or {})
                self._check_all(await self.slots(grant, upload.id))
        return await self._uploads.end(grant, upload, metadata)

    async def _received(self, upload: Upload) -> int:
        return sum((await self._staging(upload).parts(upload)).values())

    def _check_all(self, slots: list[Slot]) -> None:
        if missing := [slot.number for slot in slots if not slot.received and slot.size]:
            shown = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
            raise PartsMissing(count=len(missing), numbers=shown)
        for slot in slots:
            if slot.received != slot.size:
                raise PartSizeWrong(number=slot.number, size=slot.received, wanted=slot.size)

    async def _of_way(self, grant: Grant, id: str, way: str) -> Upload:
        upload = await self._opening.found(grant, id)
        if upload.way != way:
            raise UploadWayWrong(id=id, way=upload.way)
        return upload

    def _staging(self, upload: Upload) -> Staging:
        return self._stagings[upload.storage]

    def expires(self, upload: Upload) -> datetime:
        """When the addresses of an upload end, unless it does before."""
        return min(upload.expires_at, datetime.fromtimestamp(time.time() + self._lasts, upload.expires_at.tzinfo))


def slots_of(upload: Upload) -> list[Slot]:
    """The parts an upload is to come in, by number from 1."""
    count = _count(_known_size(upload.intake), upload.part_size or PART_SIZE)
    return [slot_of(upload, number) for number in range(1, count + 1)]


def slot_of(upload: Upload, number: int) -> Slot:
    """One of them; raises `PartNumberInvalid`."""
    size, step = _known_size(upload.intake), upload.part_size or PART_SIZE
    if not 1 <= number <= (most := _count(size, step)):
        raise PartNumberInvalid(number=number, most=most)
    return Slot(number, min(step, size - (number - 1) * step))


def _count(size: int, step: int) -> int:
    return max(1, -(-size // step))


def put_type(upload: Upload) -> str:
    """The Content-Type that a presigned PUT must have."""
    return upload.intake.declared_type or ANY_TYPE


def _known_size(intake: Intake) -> int:
    if intake.declared_size is None:
        raise SizeRequired
    return intake.declared_size


async def _exactly(chunks: AsyncIterable[bytes], slot: Slot) -> AsyncIterator[bytes]:
    """The chunks, if they are as many bytes as the part must have; raises `PartSizeWrong` before the last is taken."""
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > slot.size:
            raise PartSizeWrong(number=slot.number, size=received, wanted=slot.size)
        yield chunk
    if received != slot.size:
        raise PartSizeWrong(number=slot.number, size=received, wanted=slot.size)
