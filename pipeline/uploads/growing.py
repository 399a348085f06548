"""Uploads that grow request by request: each brings a stretch of the bytes, and with the last one they are a File.

Whoever asks how far an upload has come, or goes on with it, ends an older request that still writes to it: its client
may be long gone. What that request had received is kept, so the answer is exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.acts import settled
from pipeline.arrival import Arrival, Rules
from pipeline.errors import (
    BodyTooLong,
    OffsetMismatch,
    PieceInvalid,
    SizeInconsistent,
    UploadExpired,
    UploadNotFound,
)
from pipeline.model import File, Grant, Intake, Upload
from pipeline.records import Records
from pipeline.storage.base import ByteRange, Storage
from pipeline.uploads.becoming import Look
from pipeline.uploads.checking import Checksum, checked
from pipeline.uploads.holds import Hold, Holds
from pipeline.uploads.opening import Opening
from pipeline.uploads.verbs import Uploads
from pipeline.uploads.writing import Writing


@dataclass(frozen=True)
class Stretch:
    """What a request says of the bytes it brings; they go to `offset`, and only if they come to the `checksum`."""

    offset: int
    length: int | None = None
    """How many they are, if it says so."""
    size: int | None = None
    """How many the whole file has, if it says so."""
    last: bool | None = None
    """Whether the file ends with them; None leaves that to its size."""
    checksum: Checksum | None = None


@dataclass(frozen=True)
class Grown:
    """An upload as it stands, and the File it has become."""

    upload: Upload
    file: File | None = None
    before: bool = False
    """Whether it had been that File before this request."""


@dataclass(frozen=True)
class Part:
    """The bytes of a piece from `start` to before `stop`; without a `stop` all of one that is complete."""

    id: str
    start: int = 0
    stop: int | None = None


class Growing:
    """The verbs of resumable uploads."""

    def __init__(
        self,
        *,
        records: Records,
        storages: Mapping[str, Storage],
        opening: Opening,
        holds: Holds,
        uploads: Uploads,
        writing: Writing,
        folder: Path,
    ) -> None:
        self._records = records
        self._storages = storages
        self._opening = opening
        self._holds = holds
        self._uploads = uploads
        self._writing = writing
        self._folder = folder

    async def begin(self, grant: Grant, intake: Intake, *, piece: bool = False) -> Upload:
        """Open an upload; a `piece` is only to be joined with others. Raises `FileTooLarge`, `QuotaExceeded`, ..."""
        begun = self._opening.upload(grant, await self._opening.narrowed(grant, intake), piece=piece)
        upload = begun.model_copy(update={"piece": piece})
        await self._opening.begin(grant, upload)
        return upload

    async def accept(
        self, grant: Grant, intake: Intake, chunks: AsyncIterable[bytes], checksum: Checksum | None = None
    ) -> File:
        """Take a whole file in one go, of which nothing is left unless it has the checksum."""
        rules = self._opening.rules(grant, intake)
        async with self._checked(chunks, checksum, rules, 0, intake.declared_size) as proven:
            return await self._uploads.accept(grant, intake, proven)

    async def standing(self, grant: Grant, id: str, *, settle: bool = True) -> Grown:
        """How far it has come, exactly; with `settle`, one that has all its bytes becomes a File if it is none yet.

        Raises `UploadNotFound`, `UploadExpired`, `UploadBusy`, and whatever its bytes are refused for.
        """
        try:
            await self._opening.found(grant, id)
            async with self._holds.of(id):
                upload = await self._writing.get(grant, id)
                return await self._completed(grant, upload) if settle else Grown(upload)
        except UploadNotFound:
            return await self.ended(grant, id)

    async def extend(self, grant: Grant, id: str, stretch: Stretch, chunks: AsyncIterable[bytes]) -> Grown:
        """Take a stretch in, and when it was the last, make all of it a File in the same turn.

        What came before a cut is kept, unless there is a checksum. Raises `OffsetMismatch`, `SizeInconsistent`,
        `BodyTooLong` or `FileTooLarge` (nothing has changed, if the request tells its length), `ChecksumMismatch`,
        `ChecksumUnknown`, `UploadTakenOver`, `UploadBusy`, `UploadExpired`, `UploadNotFound`, and whatever its bytes
        are refused for.
        """
        try:
            await self._opening.found(grant, id)
            async with self._holds.of(id) as hold:
                upload = await self._writing.growing(grant, id, stretch.offset)
                upload = await self._sized(grant, upload, stretch)
                return await self._extended(hold, grant, upload, stretch, chunks)
        except UploadNotFound:
            return await self._repeated(grant, id, stretch, chunks)

    async def join(self, grant: Grant, intake: Intake, parts: Sequence[Part], look: Look | None = None) -> File:
        """The File that parts of pieces make in this order; one may come more than once, and all stay.

        Raises `PieceInvalid`, and what `Uploads.accept` and `look` do.
        """
        async with contextlib.AsyncExitStack() as turns:
            for id in sorted({part.id for part in parts}):
                await self._piece(grant, id)
                await turns.enter_async_context(self._holds.of(id))
            pieces = {id: await self._piece(grant, id) for id in {part.id for part in parts}}
            for part in parts:
                _check_reach(pieces[part.id], part)
            for piece in pieces.values():
                await self._writing.set_aside(piece)
            size = sum((pieces[part.id].offset if part.stop is None else part.stop) - part.start for part in parts)
            whole = intake.model_copy(update={"declared_size": size})
            return await self._uploads.accept(grant, whole, self._read(parts, pieces), look=look)

    async def complete(self, grant: Grant, id: str, intake: Intake, look: Look | None = None) -> File:
        """The File that a complete piece is by itself, under the claims of the whole; asked again it is the same.

        Raises `PieceInvalid`, and what the whole is refused for, also by `look`, with which the piece is gone.
        """
        async with self._holds.of(id):
            (file,) = await self._records.files.get_many([id])
            if file is not None and file.project == grant.project.id:
                return file
            piece = await self._piece(grant, id)
            _check_reach(piece, Part(id))
            made = self._opening.made(grant, await self._opening.narrowed(grant, intake), id=id)
            same = {name: getattr(piece, name) for name in ("offset", "storage", "key", "expires_at")}
            return await settled(self._writing.become(grant, made.model_copy(update=same), look=look))

    # One request

    async def _sized(self, grant: Grant, upload: Upload, stretch: Stretch) -> Upload:
        """The upload with what the request says of its size, once it is sure that the bytes can fit."""
        known, given = upload.intake.declared_size, stretch.size
        if given is not None and (given < upload.offset or known not in (None, given)):
            raise SizeInconsistent(id=upload.id, declared=upload.offset if known is None else known, given=given)
        if known is None and given is not None:
            upload = _declared(upload, given)
        if stretch.length is not None:
            self._rules(grant, upload).check_size(upload.offset + stretch.length)
        if known is None and given is not None:
            self._rules(grant, upload)
            upload = _declared(upload, await self._records.uploads.declare(upload.id, given))
        return upload

    async def _extended(
        self, hold: Hold, grant: Grant, upload: Upload, stretch: Stretch, chunks: AsyncIterable[bytes]
    ) -> Grown:
        rules, size, length = self._rules(grant, upload), upload.intake.declared_size, stretch.length
        if length == 0 or upload.offset == size:
            await _check_empty(chunks, upload)
            return await self._completed(grant, upload, stretch.last)
        whole = stretch.last is not False and length is not None and stretch.offset + length == size
        final = whole and not upload.piece
        async with self._checked(chunks, stretch.checksum, rules, stretch.offset, length, hold) as proven:
            arrival = Arrival(proven, rules, stretch.offset)
            upload = await self._writing.write(hold, upload, arrival, final=final)
        return await self._completed(grant, upload, stretch.last, arrival)

    async def _completed(
        self, grant: Grant, upload: Upload, last: bool | None = None, arrival: Arrival | None = None
    ) -> Grown:
        """The upload as it stands; if nothing is missing, as the File it becomes."""
        known = upload.intake.declared_size
        if not (upload.offset == known if last is None else last):
            return Grown(upload)
        if upload.piece:
            return Grown(upload)
        if known is None:
            upload = _declared(upload, await self._records.uploads.declare(upload.id, upload.offset))
        return Grown(upload, await settled(self._writing.become(grant, upload, arrival)))

    @contextlib.asynccontextmanager
    async def _checked(
        self,
        chunks: AsyncIterable[bytes],
        checksum: Checksum | None,
        rules: Rules,
        offset: int,
        length: int | None,
        hold: Hold | None = None,
    ) -> AsyncIterator[AsyncIterable[bytes]]:
        """The chunks, at once or when they have come to the checksum, never more of them than there may be."""
        if checksum is None:
            yield chunks
            return
        async with contextlib.AsyncExitStack() as waiting:
            async with hold.yielding() if hold else contextlib.nullcontext():
                within = _within(chunks, rules, offset)
                proven = await waiting.enter_async_context(checked(within, checksum, length, self._folder))
            yield proven

    # After its end

    async def ended(self, grant: Grant, id: str) -> Grown:
        """An upload with marks as it came to its end; raises `UploadNotFound`, also once it has expired."""
        upload = await self._records.uploads.ended(id)
        (file,) = await self._records.files.get_many([id])
        if upload.project != grant.project.id or file is None:
            raise UploadNotFound(id=id)
        size = upload.intake.declared_size
        size = file.size if size is None else size  # as it was sent; a purified drawing has another
        return Grown(_declared(upload, size).model_copy(update={"offset": size}), file, before=True)

    async def _repeated(self, grant: Grant, id: str, stretch: Stretch, chunks: AsyncIterable[bytes]) -> Grown:
        """A request that comes again because its answer was lost changes nothing."""
        grown = await self.ended(grant, id)
        if stretch.offset != grown.upload.offset:
            raise OffsetMismatch(expected=grown.upload.offset, given=stretch.offset)
        if stretch.size not in (None, grown.upload.offset):
            raise SizeInconsistent(id=id, declared=grown.upload.offset, given=stretch.size)
        await _check_empty(chunks, grown.upload)
        return grown

    # Pieces

    async def _piece(self, grant: Grant, id: str) -> Upload:
        try:
            upload = await self._writing.get(grant, id)
        except (UploadNotFound, UploadExpired) as fault:
            raise PieceInvalid(id=id, reason="it is not there") from fault
        if not upload.piece:
            raise PieceInvalid(id=id, reason="it was not begun as a part of a file")
        return upload

    async def _read(self, parts: Sequence[Part], pieces: Mapping[str, Upload]) -> AsyncIterator[bytes]:
        for part in parts:
            piece = pieces[part.id]
            some = None if part.stop is None else ByteRange(part.start, part.stop - 1)
            async for chunk in self._storages[piece.storage].open(piece.key, some):
                yield chunk

    def _rules(self, grant: Grant, upload: Upload) -> Rules:
        return self._opening.rules(grant, upload.intake, piece=upload.piece)


def _declared(upload: Upload, size: int) -> Upload:
    return upload.model_copy(update={"intake": upload.intake.model_copy(update={"declared_size": size})})


def _check_reach(piece: Upload, part: Part) -> None:
    """Raise `PieceInvalid` unless the bytes of a part are there."""
    missing = piece.offset != piece.intake.declared_size if part.stop is None else piece.offset < part.stop
    if missing:
        raise PieceInvalid(id=piece.id, reason="bytes of it are missing")


async def _check_empty(chunks: AsyncIterable[bytes], upload: Upload) -> None:
    """Raise `BodyTooLong` when there is anything to come."""
    if await anext(aiter(chunks), None) is not None:
        raise BodyTooLong(declared=upload.offset)


async def _within(chunks: AsyncIterable[bytes], rules: Rules, offset: int) -> AsyncIterator[bytes]:
    """Raises `BodyTooLong` or `FileTooLarge` with the first byte too many, before it is kept anywhere."""
    async for chunk in chunks:
        offset += len(chunk)
        rules.check_size(offset)
        yield chunk
