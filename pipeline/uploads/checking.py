"""Bytes that count only all together: they wait aside until the last has come and their checksum is right."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from pipeline.arrival import Digest, Hasher
from pipeline.errors import BodyIncomplete, ChecksumMismatch, ChecksumUnknown
from pipeline.uploads.aside import Aside

ALGORITHMS: Mapping[str, Callable[[], Hasher]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "crc32c": google_crc32c.Checksum,
}
"""What checksums are made with; that of `crc32c` has its highest byte first."""


@dataclass(frozen=True)
class Checksum:
    """What the bytes of one request must come to."""

    algorithm: str
    value: bytes

    def hasher(self) -> Hasher:
        """A new one of its kind; raises `ChecksumUnknown`."""
        if self.algorithm not in ALGORITHMS:
            raise ChecksumUnknown(known=", ".join(ALGORITHMS), given=self.algorithm[:40])
        return ALGORITHMS[self.algorithm]()


@contextlib.asynccontextmanager
async def checked(
    chunks: AsyncIterable[bytes], checksum: Checksum, length: int | None, folder: Path
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The same bytes, once all of them have come; `folder` is where many of them wait.

    Raises `ChecksumMismatch`, `ChecksumUnknown` or, when there are fewer than `length`, `BodyIncomplete`.
    """
    digest, aside = Digest(checksum.hasher()), Aside(folder)
    with contextlib.closing(aside):
        await aside.take(_digested(chunks, digest))
        if length is not None and aside.size < length:
            raise BodyIncomplete(received=aside.size, declared=length)
        if await digest.value() != checksum.value:
            raise ChecksumMismatch(algorithm=checksum.algorithm)
        yield aiter(aside)


async def _digested(chunks: AsyncIterable[bytes], digest: Digest) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        await digest.add(chunk)
        yield chunk
