"""Staging beside a storage in memory: the twin for unit tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from datetime import datetime

from pipeline.errors import OffsetMismatch
from pipeline.model import Upload
from pipeline.staging.base import Check, Staged, passes, unchecked
from pipeline.storage.base import STAGING
from pipeline.storage.memory import Kept, MemoryStorage


class MemoryStaging:
    """Keeps arriving bytes in the storage itself, under keys that nobody can ask for."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._kept = storage.kept

    async def append(
        self,
        upload: Upload,
        offset: int,
        chunks: AsyncIterable[bytes],
        *,
        final: bool = False,
        check: Check = unchecked,
    ) -> int:
        if offset != (expected := await self.offset(upload)):
            raise OffsetMismatch(expected=expected, given=offset)
        body = bytearray(self._body(_whole(upload)))
        try:
            async for chunk in chunks:
                body += chunk
        finally:
            if passes(check) and len(body) > await self.offset(upload):
                self._keep(_whole(upload), bytes(body))
        check()
        return len(body)

    async def replace(self, upload: Upload, body: bytes) -> None:
        self._keep(_whole(upload), body)

    async def read(self, upload: Upload, most: int) -> bytes | None:
        body = self._body(_whole(upload))
        return None if self._parts(upload) or len(body) > most else body

    async def offset(self, upload: Upload) -> int:
        return len(self._body(_whole(upload))) + sum(len(self._body(key)) for key in self._parts(upload))

    async def part(self, upload: Upload, number: int, chunks: AsyncIterable[bytes]) -> int:
        body = b"".join([chunk async for chunk in chunks])
        self._keep(f"{_whole(upload)}/{number:05}", body)
        return len(body)

    async def parts(self, upload: Upload) -> Mapping[int, int]:
        return {int(key.rpartition("/")[2]): len(self._body(key)) for key in self._parts(upload)}

    async def part_url(self, upload: Upload, number: int, size: int, expires: float) -> str | None:
        return None

    async def confirm(self, upload: Upload, tags: Mapping[int, str]) -> None:
        return None

    async def put_url(self, upload: Upload, media_type: str, size: int, expires: float) -> str | None:
        return None

    async def promote(self, upload: Upload, media_type: str) -> None:
        staged = [_whole(upload), *self._parts(upload)]
        if any(key in self._kept for key in staged) or upload.key not in self._kept:
            self._kept[upload.key] = Kept(b"".join(self._body(key) for key in staged), media_type)
        await self.drop(upload)

    async def drop(self, upload: Upload) -> None:
        for key in [_whole(upload), *self._parts(upload)]:
            self._kept.pop(key, None)

    async def left(self, before: datetime) -> AsyncGenerator[Staged, None]:
        staged = {key: kept.modified for key, kept in self._kept.items() if key.startswith(f"{STAGING}/")}
        for id in sorted({key.split("/")[1] for key in staged}):
            modified = max(at for key, at in staged.items() if key.split("/")[1] == id)
            if modified < before:
                yield Staged(id, modified, upload=id)

    async def discard(self, staged: Staged) -> None:
        for key in [key for key in self._kept if key.split("/")[:2] == [STAGING, staged.name]]:
            del self._kept[key]

    def _parts(self, upload: Upload) -> list[str]:
        return sorted(key for key in self._kept if key.startswith(f"{_whole(upload)}/"))

    def _body(self, key: str) -> bytes:
        return self._kept[key].body if key in self._kept else b""

    def _keep(self, key: str, body: bytes) -> None:
        self._kept[key] = Kept(body, "application/octet-stream")


def _whole(upload: Upload) -> str:
    return f"{STAGING}/{upload.id}"
