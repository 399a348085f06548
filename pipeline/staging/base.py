"""What every staging promises: bytes wait in it until they are whole, then become a key of its storage.

An upload arrives by `append`, by `part` or at the address of `put_url`, never by two of them. Any process may take the
next append, part, promotion or drop of an upload: all that is known of it lies in the storage. One writer at a time;
callers hold the upload's lock.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pipeline.errors import SafelightError
from pipeline.model import Upload

Check = Callable[[], None]
"""Asked before each write; raises when the caller has lost its turn, and then nothing more may be written."""


def unchecked() -> None:
    """For a caller whom nobody can overtake."""


def passes(check: Check) -> bool:
    """Whether one may write still."""
    try:
        check()
    except SafelightError:
        return False
    return True


@dataclass(frozen=True)
class Staged:
    """Unfinished bytes, by the name the staging has for them, and when the last of them came.

    They belong to the upload of the id `upload`, or would become `key` of the storage, or neither is known any more.
    """

    name: str
    modified: datetime
    upload: str | None = None
    key: str | None = None


class Staging(Protocol):
    """Holds the bytes of uploads that have not finished."""

    async def append(
        self,
        upload: Upload,
        offset: int,
        chunks: AsyncIterable[bytes],
        *,
        final: bool = False,
        check: Check = unchecked,
    ) -> int:
        """Write `chunks` at `offset` and return the new offset; what arrived before a cut stays, durably.

        `final` says that `promote` follows at once in this process, so that nothing need survive it before then.
        Raises `OffsetMismatch` when `offset` is not where the staged bytes end, and what `check` does; whoever wakes up
        behind a check that it passed takes nothing away of what somebody else has appended since.
        """
        ...

    async def replace(self, upload: Upload, body: bytes) -> None:
        """Have `body` staged, all of it or nothing, in place of whatever was; durable when it returns.

        Nobody need hold the upload for that: of several at once the last one counts.
        """
        ...

    async def read(self, upload: Upload, most: int) -> bytes | None:
        """What `append` or `replace` staged, if it is at most `most` bytes; None if it is more, or nothing.

        None also where `promote` is as fast as writing those bytes anew.
        """
        ...

    async def offset(self, upload: Upload) -> int:
        """How many bytes are staged durably; 0 for an upload nothing was written to."""
        ...

    async def part(self, upload: Upload, number: int, chunks: AsyncIterable[bytes]) -> int:
        """Write part `number` (from 1) and return its size; a part sent again replaces the earlier one.

        All of a part counts or nothing. Several may be written at once. Every part but the last has at least 5 MiB,
        which S3 insists on at `promote`.
        """
        ...

    async def parts(self, upload: Upload) -> Mapping[int, int]:
        """The size of every numbered part that is there, by number."""
        ...

    async def part_url(self, upload: Upload, number: int, size: int, expires: float) -> str | None:
        """An address that takes part `number` of this size for `expires` seconds without us, None if there is none."""
        ...

    async def confirm(self, upload: Upload, tags: Mapping[int, str]) -> None:
        """Say by entity tag which bytes of a part that was sent again count; without it those that came last do.

        A server may know the order to the second only. Raises `PartTagWrong` for a part that is there but has another,
        where the tags say what the bytes are.
        """
        ...

    async def put_url(self, upload: Upload, media_type: str, size: int, expires: float) -> str | None:
        """An address that takes all bytes of the upload by PUT, of this type and size only, None if there is none.

        Another PUT replaces the earlier one until the upload is promoted; from then on it changes nothing.
        """
        ...

    async def promote(self, upload: Upload, media_type: str) -> None:
        """Make the staged bytes appear whole under `upload.key` of the storage; durable when it returns.

        A second time is fine. Raises `PartTooSmall`, and `StorageKeyNotFound` when the staged bytes are lost.
        """
        ...

    async def drop(self, upload: Upload) -> None:
        """Forget everything staged for `upload`; a second time is fine."""
        ...

    def left(self, before: datetime) -> AsyncGenerator[Staged, None]:
        """Everything unfinished that has not grown since `before`, whoever began it."""
        ...

    async def discard(self, staged: Staged) -> None:
        """Forget something that was left; a second time is fine."""
        ...
