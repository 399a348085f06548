"""A storage that keeps bytes in this process and loses them with it: the exemplar, and the twin for unit tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from pipeline.errors import StorageKeyNotFound
from pipeline.model import now
from pipeline.storage.base import PIECE, STAGING, ByteRange, Content, Listed, Stat, Tally, checked_key


@dataclass(frozen=True)
class Kept:
    """The bytes under one key."""

    body: bytes
    media_type: str
    modified: datetime = field(default_factory=now)


class MemoryStorage:
    """Finished bytes in a dictionary; `memory://`."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}

    @classmethod
    def from_url(cls, url: str, environ: Mapping[str, str]) -> MemoryStorage:
        return cls()

    async def put(
        self, key: str, chunks: AsyncIterable[bytes], size: int | None, media_type: str, *, lasting: bool = True
    ) -> int:
        checked_key(key)
        tally = Tally(size)
        body = b"".join([tally.took(chunk) async for chunk in chunks])
        total = tally.total()
        self.kept[key] = Kept(body, media_type)
        return total

    async def put_all(self, contents: Sequence[Content]) -> None:
        for content in contents:
            self.kept[checked_key(content.key)] = Kept(content.body, content.media_type)

    async def open(self, key: str, part: ByteRange | None = None) -> AsyncIterator[bytes]:
        if (kept := self.kept.get(checked_key(key))) is None:
            raise StorageKeyNotFound
        start, stop = part.within(len(kept.body)) if part else (0, len(kept.body))
        for position in range(start, stop, PIECE):
            yield kept.body[position : min(position + PIECE, stop)]

    async def stat(self, key: str) -> Stat | None:
        if (kept := self.kept.get(checked_key(key))) is None:
            return None
        return Stat(len(kept.body), kept.media_type, sha256(kept.body).hexdigest())

    async def delete(self, key: str) -> None:
        self.kept.pop(checked_key(key), None)

    async def copy(self, source: str, target: str) -> None:
        if (kept := self.kept.get(checked_key(source))) is None:
            raise StorageKeyNotFound
        self.kept[checked_key(target)] = Kept(kept.body, kept.media_type)

    async def url(
        self, key: str, expires: float, media_type: str | None = None, attachment: str | None = None
    ) -> str | None:
        return None

    async def presign_put(self, key: str, expires: float, media_type: str, size: int) -> str | None:
        return None

    def local_path(self, key: str) -> Path | None:
        return None

    async def listing(self, after: str | None = None) -> AsyncGenerator[Listed, None]:
        for key, kept in sorted(self.kept.items()):
            if key > (after or "") and not key.startswith(f"{STAGING}/"):
                yield Listed(key, len(kept.body), kept.modified)

    async def check(self) -> None:
        return

    async def close(self) -> None:
        return
