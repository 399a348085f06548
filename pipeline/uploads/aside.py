"""A file's bytes that come before it is known whose they are: they wait until what goes with them has come too."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile

from pipeline.errors import FileTooLarge
from pipeline.storage.base import PIECE
from pipeline.storage.drafts import faults_spoken, finished


class Aside:
    """Takes bytes once and gives them once; those beyond `in_memory` wait in `folder`. Close it in any case."""

    def __init__(self, folder: Path, in_memory: int = PIECE) -> None:
        self._folder = folder
        with faults_spoken(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._file = SpooledTemporaryFile(in_memory, dir=str(folder))  # noqa: SIM115 - its life is this object's
        self.size = 0

    async def take(self, chunks: AsyncIterable[bytes], most: int) -> None:
        """Keep all of `chunks`; raises `FileTooLarge` when they are more than `most` bytes, or `StorageFull`."""
        async for chunk in chunks:
            self.size += len(chunk)
            if self.size > most:
                raise FileTooLarge(limit=most)
            with faults_spoken(self._folder):
                self._file.write(chunk)
        self._file.seek(0)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._piece():
            yield piece

    async def _piece(self) -> bytes:
        if self.size <= PIECE:
            return self._file.read(PIECE)
        return await finished(partial(self._file.read, PIECE))

    def close(self) -> None:
        """Forget the bytes."""
        self._file.close()
