"""Uploads whose client brings slice after slice without saying where they belong: each counts whole, or not at all.

Its client goes on from the offset it is answered with, and sends the slice again, longer or shorter maybe, when no
answer came. So a slice that begins as the last one did is answered with that offset and not kept; one that comes yet
again is another slice of the same bytes, sent once too often. What a cut left behind the last whole slice are bytes of
the very slice that is sent again: they stay.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from pipeline.arrival import Digest
from pipeline.errors import BodyIncomplete, BodyTooLong, OffsetMismatch, UploadNotFound
from pipeline.model import Grant, Upload
from pipeline.records import Records
from pipeline.uploads.aside import Aside
from pipeline.uploads.growing import Growing, Grown, Stretch
from pipeline.uploads.holds import Holds
from pipeline.uploads.opening import Opening
from pipeline.uploads.verbs import Uploads


@dataclass(frozen=True)
class Reach:
    """How far an upload has come by whole slices, and the last of them; without `digest` it was sent again before."""

    offset: int = 0
    length: int = 0
    digest: str = ""
    sums: Sequence[int] = ()
    """CRC-32 of its first byte, of its first 2, 4, 8, ..."""


@dataclass(frozen=True)
class Sliced(Grown):
    """An upload as far as its whole slices reach, and the File it has become."""

    reach: Reach = Reach()


@dataclass(frozen=True)
class Slice:
    """A slice that has come whole; `sums` are of its first byte, of its first 2, 4, 8, ..."""

    size: int
    digest: str
    sums: Sequence[int]

    def repeats(self, reach: Reach) -> bool:
        """Whether it is the last one, or, longer or shorter, what can be told of both begins the same.

        That is more than half of the shorter one; a slice that is taken for another costs its client a second way.
        """
        if not self.size or not reach.digest:
            return False
        if self.size == reach.length:
            return self.digest == reach.digest
        known = min(len(self.sums), len(reach.sums))
        return known > 0 and self.sums[known - 1] == reach.sums[known - 1]


class Slicing:
    """Takes slices in; `folder` is where large ones wait until they are whole."""

    def __init__(
        self,
        *,
        records: Records,
        opening: Opening,
        holds: Holds,
        uploads: Uploads,
        growing: Growing,
        folder: Path,
        lasts: float,
    ) -> None:
        self._records = records
        self._opening = opening
        self._holds = holds
        self._uploads = uploads
        self._growing = growing
        self._folder = folder
        self._lasts = lasts

    async def standing(self, grant: Grant, id: str) -> Sliced:
        """How far it has come by whole slices, whoever writes to it; raises `UploadNotFound` or `UploadExpired`."""
        try:
            upload = await self._opening.found(grant, id)
        except UploadNotFound:
            ended = await self._growing.ended(grant, id)
            return Sliced(ended.upload, ended.file, ended.before, await self._reach(ended.upload))
        reach = await self._reach(upload)
        return Sliced(_at(upload, reach.offset), reach=reach)

    async def extend(
        self,
        grant: Grant,
        begun: Sliced,
        chunks: AsyncIterable[bytes],
        *,
        most: int,
        length: int | None = None,
        offset: int | None = None,
    ) -> Grown:
        """Take a slice in, which is to have `length` bytes and to go to `offset`, if these are told.

        `begun` is the upload as it stood when its client began to send. Raises `UploadBusy` (another slice is being
        kept at this moment), `OffsetMismatch`, `BodyIncomplete`, `FileTooLarge` (also when it has more than `most`
        bytes), `BodyTooLong`, `UploadNotFound`, `UploadExpired`, and what the bytes of the whole are refused for.
        """
        with contextlib.closing(Aside(self._folder)) as aside:
            slice = await _received(chunks, aside, most)
            if length is not None and slice.size < length:
                raise BodyIncomplete(received=slice.size, declared=length)
            if begun.file:
                return _again(begun, slice)
            async with self._holds.of(f"slices:{begun.upload.id}", patience=0):
                expected = begun.reach.offset if offset is None else offset
                return await self._taken(grant, begun.upload.id, slice, aside, expected, told=offset is not None)

    async def complete(self, grant: Grant, id: str) -> Grown:
        """Make what has come of it a file, if nothing is missing or how long it is was left open.

        An upload that is not complete stays as it is; raises what `extend` does.
        """
        standing = await self.standing(grant, id)
        size = standing.upload.intake.declared_size
        if standing.file or size not in (None, standing.upload.offset):
            return standing
        async with self._holds.of(f"slices:{id}", patience=0):
            staged = await self._uploads.get(grant, id)
            return await self._growing.extend(grant, id, Stretch(staged.offset, 0, last=True), _nothing())

    async def _taken(self, grant: Grant, id: str, slice: Slice, aside: Aside, expected: int, *, told: bool) -> Grown:
        standing = await self.standing(grant, id)
        upload, reach = standing.upload, standing.reach
        if standing.file:
            return _again(standing, slice)
        if slice.repeats(reach) and (not told or expected == reach.offset - reach.length):
            await self._heard_twice(upload, reach)
            return standing
        if expected != reach.offset:
            raise OffsetMismatch(expected=reach.offset, given=expected)
        if not slice.size:
            return standing
        end = reach.offset + slice.size
        self._check_room(grant, upload, end)
        grown = await self._appended(grant, upload, reach.offset, slice.size, aside)
        await self._note(upload, Reach(end, slice.size, slice.digest, slice.sums))
        return grown if grown.file else Grown(_at(grown.upload, end))

    def _check_room(self, grant: Grant, upload: Upload, end: int) -> None:
        size = upload.intake.declared_size
        if size is not None and end > size:
            raise BodyTooLong(declared=size)
        self._opening.rules(grant, upload.intake, piece=upload.piece).check_size(end)

    async def _appended(self, grant: Grant, upload: Upload, offset: int, length: int, aside: Aside) -> Grown:
        """Behind what is staged, which a slice that was cut off on its way into the staging may have filled in part."""
        staged = (await self._uploads.get(grant, upload.id)).offset
        there = staged - offset
        if there < 0:
            raise OffsetMismatch(expected=staged, given=offset)
        if there >= length and offset + length != upload.intake.declared_size:
            return Grown(upload)
        return await self._growing.extend(grant, upload.id, Stretch(staged, length - there), _behind(aside, there))

    async def _heard_twice(self, upload: Upload, reach: Reach) -> None:
        """That of a whole upload may come as often as it likes."""
        if reach.offset != upload.intake.declared_size:
            await self._note(upload, replace(reach, digest=""))

    async def _reach(self, upload: Upload) -> Reach:
        text = await self._records.notes.get(upload.project, f"slices:{upload.id}")
        return Reach(**orjson.loads(text)) if text else Reach()

    async def _note(self, upload: Upload, reach: Reach) -> None:
        text = orjson.dumps(asdict(reach)).decode()
        await self._records.notes.keep(upload.project, f"slices:{upload.id}", text, self._lasts)


def _at(upload: Upload, offset: int) -> Upload:
    return upload.model_copy(update={"offset": offset})


def _again(standing: Sliced, slice: Slice) -> Grown:
    """The answer to a slice of what is a file already: only its last one may come."""
    size, reach = standing.upload.offset, standing.reach
    if slice.size and not slice.repeats(reach) and reach.offset + slice.size != size:
        raise BodyTooLong(declared=size)
    return standing


async def _received(chunks: AsyncIterable[bytes], aside: Aside, most: int) -> Slice:
    whole, beginnings = Digest(), Beginnings()

    async def digested() -> AsyncIterator[bytes]:
        async for chunk in chunks:
            await whole.add(chunk)
            beginnings.add(chunk)
            yield chunk

    await aside.take(digested(), most)
    return Slice(aside.size, await whole.hex(), beginnings.sums)


class Beginnings:
    """What a slice begins with, by the `sums` of its first byte, of its first 2, 4, 8, ... as far as it goes."""

    def __init__(self) -> None:
        self.sums: list[int] = []
        self._sum = self._size = 0

    def add(self, chunk: bytes) -> None:
        """Hear the next bytes."""
        rest = memoryview(chunk)
        while rest:
            part = rest[: 2 ** len(self.sums) - self._size]
            rest = rest[len(part) :]
            self._sum, self._size = zlib.crc32(part, self._sum), self._size + len(part)
            if self._size == 2 ** len(self.sums):
                self.sums.append(self._sum)


async def _behind(aside: Aside, passed: int) -> AsyncIterator[bytes]:
    async for chunk in aside:
        kept = chunk[passed:]
        passed = max(0, passed - len(chunk))
        if kept:
            yield kept


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in tuple[bytes, ...]():
        yield chunk
