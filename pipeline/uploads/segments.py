"""Files whose client sends them as several uploads side by side, each a segment: with the last one they are joined."""

from __future__ import annotations

from pipeline.model import File, Grant, Intake
from pipeline.records import Records
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.growing import Growing, Part
from pipeline.uploads.holds import Holds
from pipeline.uploads.ranging import AGAIN
from pipeline.uploads.verbs import Uploads


class Segments:
    """Joins segments; `name` is what those of one file have in common, and `lasts` how long each tells of the whole."""

    def __init__(
        self,
        *,
        records: Records,
        holds: Holds,
        uploads: Uploads,
        growing: Growing,
        cleaning: Cleaning,
        lasts: float,
    ) -> None:
        self._records = records
        self._holds = holds
        self._uploads = uploads
        self._growing = growing
        self._cleaning = cleaning
        self._lasts = lasts

    async def landed(self, grant: Grant, name: str, place: int, total: int, piece: str, intake: Intake) -> File | None:
        """Take a complete piece as the segment at `place` (from 0) of `total`; the whole when none is missing.

        A second time is fine. Raises `PieceInvalid`, `StretchesTooMany`, and what the whole is refused for.
        """
        if file := await self.whole(grant, piece):
            return file
        await self._records.stretches.note(name, place, place + 1, piece, self._lasts)
        async with self._holds.of(f"segments:{name}"):
            standing = await self._records.stretches.standing(name, total)
            if standing.reach < total:
                return None
            file = await self._growing.join(grant, intake, [Part(id) for id in standing.way])
            for id in standing.way:
                await self._records.notes.keep(grant.project.id, f"segment:{id}", file.id, self._lasts)
            await self._records.stretches.settle(name, file.id, "", AGAIN)
        for id in standing.pieces:
            await self._cleaning.quietly(self._uploads.abort(grant, id))
        return file

    async def whole(self, grant: Grant, piece: str) -> File | None:
        """The file that a segment became a part of, None as long as it is in none."""
        id = await self._records.notes.get(grant.project.id, f"segment:{piece}")
        (file,) = await self._records.files.get_many([id]) if id else (None,)
        return file
