"""Bytes that came before it is known what becomes of them: they wait until whatever decides it has come too."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pipeline.errors import FileTooLarge
from pipeline.storage.base import PIECE
from pipeline.storage.drafts import faults_spoken, finished


class Aside:
    """Takes bytes once and gives them once; those beyond `in_memory` wait in `folder`. Close it in any case."""

    def __init__(self, folder: Path, in_memory: int = PIECE) -> None:
        self._folder = folder
        self._in_memory = in_memory
        self._chunks: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    async def take(self, chunks: AsyncIterable[bytes], most: int | None = None) -> None:
        """Keep all of `chunks`; raises `FileTooLarge` when they are more than `most` bytes, or `StorageFull`."""
        async for chunk in chunks:
            self.size += len(chunk)
            if most is not None and self.size > most:
                raise FileTooLarge(limit=most)
            if self.size <= self._in_memory:
                self._chunks.append(bytes(chunk))
            else:
                self._write(chunk)

    def _write(self, chunk: bytes) -> None:
        with faults_spoken(self._folder):
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = TemporaryFile(dir=str(self._folder))  # noqa: SIM115 - its life is this object's
            self._file.write(chunk)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._file is not None:
            self._file.seek(0)
            while piece := await finished(partial(self._file.read, PIECE)):
                yield piece

    def close(self) -> None:
        """Forget the bytes."""
        self._chunks = []
        if self._file is not None:
            self._file.close()
