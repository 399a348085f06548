"""Uploads whose client says with each request where its bytes belong: in any order, several at once, and again.

Each stretch is a piece of its own until all bytes are there; then they are joined in their order. Who comes with the
last one gets the file, and so does who sends that one again because its answer was lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass

from pipeline.errors import BodyIncomplete, StretchesMissing, StretchInvalid
from pipeline.model import File, Grant, Intake
from pipeline.records import Records
from pipeline.uploads.becoming import Look
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.growing import Growing, Stretch
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
    def place(self) -> str:
        return f"{self.start}-{self.start + self.length}"


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
        piece = await self._growing.begin(grant, Intake(name=intake.name, declared_size=span.length), piece=True)
        try:
            grown = await self._growing.extend(grant, piece.id, Stretch(0, span.length), chunks)
            if grown.upload.offset != span.length:
                raise BodyIncomplete(received=grown.upload.offset, declared=span.length)
            stop = span.start + span.length
            old = await self._records.stretches.note(name, span.start, stop, piece.id, self._lasts)
        except BaseException:
            await self._cleaning.quietly(self._uploads.abort(grant, piece.id))
            raise
        if old:
            await self._cleaning.quietly(self._uploads.abort(grant, old))
        return (await self._records.stretches.standing(name, span.total)).reach >= span.total

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
            file = await self._growing.join(grant, _whole(intake, total), standing.way, look)
            await self._records.stretches.settle(name, file.id, last, AGAIN)
        for piece in standing.pieces:
            await self._cleaning.quietly(self._uploads.abort(grant, piece))
        return file


def _whole(intake: Intake, total: int) -> Intake:
    return intake.model_copy(update={"declared_size": total})
