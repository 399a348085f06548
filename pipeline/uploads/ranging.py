"""Uploads whose client says with each request where its bytes belong: in any order, several at once, and again.

Stretches that come one behind the other are appended to one upload, the trunk, which becomes the file as it is. Any
other one is a piece of its own until all bytes are there; then all are joined in their order, which copies them. Who
comes with the last one gets the file, and so does who sends that one again because its answer was lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from pipeline.errors import (
    BodyIncomplete,
    OffsetMismatch,
    SafelightError,
    StretchesMissing,
    StretchInvalid,
    UploadExpired,
    UploadNotFound,
)
from pipeline.model import File, Grant, Intake, Upload
from pipeline.records import Records
from pipeline.records.stretches import Standing
from pipeline.uploads.becoming import Look
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.growing import Growing, Part, Stretch
from pipeline.uploads.holds import Holds
from pipeline.uploads.opening import Opening
from pipeline.uploads.verbs import Uploads

AGAIN = 60.0
"""Seconds for which the last stretch can be sent again."""


@dataclass(frozen=True)
class Span:
    """Which bytes of a file a request brings, from `start` on, and how many the file has."""

    start: int
    length: int
    total: int

    def check(self) -> None:
        """Raise `StretchInvalid` for what cannot be."""
        if self.length < 1 or self.start + self.length > self.total:
            raise StretchInvalid(start=self.start, length=self.length, total=self.total)

    @property
    def stop(self) -> int:
        return self.start + self.length

    @property
    def place(self) -> str:
        return f"{self.start}-{self.stop}"


class Ranging:
    """Takes stretches in and makes files of them; `name` is what the stretches of one file have in common."""

    def __init__(
        self,
        *,
        records: Records,
        opening: Opening,
        holds: Holds,
        uploads: Uploads,
        growing: Growing,
        cleaning: Cleaning,
        lasts: float,
    ) -> None:
        self._records = records
        self._opening = opening
        self._holds = holds
        self._uploads = uploads
        self._growing = growing
        self._cleaning = cleaning
        self._lasts = lasts

    async def put(self, grant: Grant, name: str, intake: Intake, span: Span, chunks: AsyncIterable[bytes]) -> bool:
        """Take one stretch in, all of it or nothing, in the place of an earlier one; whether no byte is missing now.

        Raises `StretchInvalid`, `StretchesTooMany`, `BodyIncomplete`, and what a file of this size is refused for.
        """
        span.check()
        self._opening.rules(grant, _whole(intake, span.total))
        if not await self._appended(grant, name, intake, span, chunks):
            await self._kept_apart(grant, name, intake, span, chunks)
        return (await self._records.stretches.standing(name, span.total)).reach >= span.total

    async def _appended(
        self, grant: Grant, name: str, intake: Intake, span: Span, chunks: AsyncIterable[bytes]
    ) -> bool:
        """Whether the stretch is the next of the trunk, and in it now."""
        trunk = await self._trunk(grant, name, intake, span)
        if trunk is None or trunk.offset != span.start or await self._uploads.is_promoted(trunk):
            return False
        stretch = Stretch(span.start, span.length)
        try:
            grown = await self._growing.extend(grant, trunk.id, stretch, _at_most(chunks, span))
        except OffsetMismatch:  # of an earlier try some bytes are there: nothing was read of this one
            return False
        if grown.upload.offset != span.stop:
            raise BodyIncomplete(received=grown.upload.offset - span.start, declared=span.length)
        await self._note(grant, name, span, trunk.id)
        return True

    async def _trunk(self, grant: Grant, name: str, intake: Intake, span: Span) -> Upload | None:
        """The trunk of a name, which begins with its first bytes."""
        id = await self._records.stretches.trunk(name)
        if id is None and span.start == 0:
            id = await self._begun(grant, name, intake, span)
        if id is not None:
            with suppress(UploadNotFound, UploadExpired):
                return await self._opening.found(grant, id)
        return None

    async def _begun(self, grant: Grant, name: str, intake: Intake, span: Span) -> str | None:
        claims = Intake(name=intake.name, declared_size=span.total, storage=intake.storage, route=intake.route)
        own, id = await self._growing.begin(grant, claims, piece=True), None
        try:
            id = await self._records.stretches.trunk(name, own.id, self._lasts)
        finally:
            if id != own.id:
                await self._cleaning.quietly(self._uploads.abort(grant, own.id))
        return id

    async def _kept_apart(
        self, grant: Grant, name: str, intake: Intake, span: Span, chunks: AsyncIterable[bytes]
    ) -> None:
        piece = await self._growing.begin(grant, Intake(name=intake.name, declared_size=span.length), piece=True)
        try:
            grown = await self._growing.extend(grant, piece.id, Stretch(0, span.length), chunks)
            if grown.upload.offset != span.length:
                raise BodyIncomplete(received=grown.upload.offset, declared=span.length)
            await self._note(grant, name, span, piece.id)
        except BaseException:
            await self._cleaning.quietly(self._uploads.abort(grant, piece.id))
            raise

    async def _note(self, grant: Grant, name: str, span: Span, piece: str) -> None:
        old = await self._records.stretches.note(name, span.start, span.stop, piece, self._lasts)
        if old:
            await self._cleaning.quietly(self._uploads.abort(grant, old))

    async def became(self, grant: Grant, name: str, span: Span | None = None) -> File | None:
        """The file that the stretches became, when this one completed it, or whichever did; None otherwise."""
        id = await self._records.stretches.became(name, span.place if span else None)
        (file,) = await self._records.files.get_many([id]) if id else (None,)
        return file if file and file.project == grant.project.id else None

    async def finish(
        self, grant: Grant, name: str, intake: Intake, total: int, last: str = "", look: Look | None = None
    ) -> File:
        """The file that the stretches make; asked again it is the same. Raises `StretchesMissing`, and as `look` does.

        `last` is the place of the stretch that completed it.
        """
        async with self._holds.of(f"stretches:{name}"):
            if file := await self.became(grant, name):
                return file
            standing = await self._records.stretches.standing(name, total)
            if standing.reach < total:
                raise StretchesMissing(reach=standing.reach, total=total)
            file = await self._made(grant, name, _whole(intake, total), standing, look)
            await self._records.stretches.settle(name, file.id, last, AGAIN)
        for piece in standing.pieces - {file.id}:
            await self._cleaning.quietly(self._uploads.abort(grant, piece))
        return file

    async def _made(self, grant: Grant, name: str, intake: Intake, standing: Standing, look: Look | None) -> File:
        """The trunk, if it has all the bytes; else what all of them make that are on the way."""
        trunk = await self._records.stretches.trunk(name)
        if {*standing.way} != {trunk}:
            return await self._growing.join(grant, intake, _parts(standing, trunk), look)
        try:
            return await self._growing.complete(grant, standing.way[0], intake, look)
        except SafelightError:
            if await self._is_gone(grant, standing.way[0]):  # as what is refused is
                await self._records.stretches.drop(name)
            raise

    async def _is_gone(self, grant: Grant, id: str) -> bool:
        try:
            await self._opening.owned(grant, id)
        except UploadNotFound:
            return True
        return False


def _parts(standing: Standing, trunk: str | None) -> list[Part]:
    """The stretches on the way; what follows each other within the trunk is one part."""
    starts = [0, *standing.stops]
    rows = list(zip(standing.way, starts, standing.stops, strict=False))
    parts: list[Part] = []
    for id, group in groupby(rows, key=lambda row: row[0]):
        if id == trunk:
            stretches = list(group)
            parts.append(Part(id, stretches[0][1], stretches[-1][2]))
        else:
            parts += [Part(id) for _ in group]
    return parts


async def _at_most(chunks: AsyncIterable[bytes], span: Span) -> AsyncIterator[bytes]:
    """Raises `StretchInvalid` with the first byte too many, which leaves what came before as it is."""
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > span.length:
            raise StretchInvalid(start=span.start, length=received, total=span.total)
        yield chunk


def _whole(intake: Intake, total: int) -> Intake:
    return intake.model_copy(update={"declared_size": total})
