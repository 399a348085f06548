"""What every storage promises: seven verbs, three small powers, no surprises.

Keys are relative POSIX paths that the house made itself (`demo/files/ab/<uuid>/photo.jpg`). Every storage refuses a
key that could leave its root (`PathInvalid`) and turns its own faults into `StorageUnavailable` or `StorageFull`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.errors import BodyIncomplete, BodyTooLong, PathInvalid, RangeNotSatisfiable

PIECE = 1024 * 1024
"""Longest piece that `open` hands out, bytes."""
STAGING = ".staging"
"""The folder of a storage where unfinished bytes wait; no key may begin with it."""
UNPRINTED = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Stat:
    """What a storage knows of one key: bytes, type and an entity tag that changes with the bytes.

    A storage that cannot remember types tells the one that the key's extension stands for.
    """

    size: int
    media_type: str
    etag: str


@dataclass(frozen=True)
class Listed:
    """One key as a listing tells of it: its bytes, and when they were written."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` up to and including `end`; `end=None` means to the last one."""

    start: int
    end: int | None = None

    def within(self, size: int) -> tuple[int, int]:
        """Where the range begins and stops (exclusive) in `size` bytes; raises `RangeNotSatisfiable` outside them."""
        stop = size if self.end is None else min(self.end + 1, size)
        if not 0 <= self.start < stop:
            raise RangeNotSatisfiable(size=size)
        return self.start, stop


class Tally:
    """Counts arriving bytes against their declared size, None for an unknown one."""

    def __init__(self, declared: int | None) -> None:
        self.declared = declared
        self.received = 0

    def took(self, chunk: bytes) -> bytes:
        """The chunk itself, counted; raises `BodyTooLong` with the first byte too many."""
        self.received += len(chunk)
        if self.declared is not None and self.received > self.declared:
            raise BodyTooLong(declared=self.declared)
        return chunk

    def total(self) -> int:
        """How many bytes came, once all of them did; raises `BodyIncomplete` when some are missing."""
        if self.declared is not None and self.received < self.declared:
            raise BodyIncomplete(received=self.received, declared=self.declared)
        return self.received


class Content(NamedTuple):
    """A small file that is all in memory."""

    key: str
    body: bytes
    media_type: str


class Storage(Protocol):
    """Where finished bytes live."""

    async def put(
        self, key: str, chunks: AsyncIterable[bytes], size: int | None, media_type: str, *, lasting: bool = True
    ) -> int:
        """Keep the bytes of `chunks` under `key`, replacing what was there; durable when it returns the size.

        What can be made again need not be `lasting`: a power cut may leave nothing of it, or fewer bytes. Nothing is
        visible under `key` until all of it is. Raises `BodyIncomplete` or `BodyTooLong` when `size` is given and
        untrue.
        """
        ...

    async def put_all(self, contents: Sequence[Content]) -> None:
        """Keep small files under keys that had nothing before; durable when it returns.

        Nothing is visible under a key until all of it is; when it raises, some may be there.
        """
        ...

    def open(self, key: str, part: ByteRange | None = None) -> AsyncIterator[bytes]:
        """The bytes under `key`, or the part of them, in pieces of at most 1 MiB.

        Raises `StorageKeyNotFound`, and `RangeNotSatisfiable` when the part begins beyond the last byte.
        """
        ...

    async def stat(self, key: str) -> Stat | None:
        """What is known of `key`, None when nothing is there."""
        ...

    async def delete(self, key: str) -> None:
        """Forget `key`; a second time, or for a key that never was, is fine."""
        ...

    async def copy(self, source: str, target: str) -> None:
        """Keep the bytes under `source` under `target` too, replacing what was there; they do not pass through us.

        Nothing is visible under `target` until all of it is, and deleting one leaves the other. Raises
        `StorageKeyNotFound`.
        """
        ...

    async def url(
        self, key: str, expires: float, media_type: str | None = None, attachment: str | None = None
    ) -> str | None:
        """An address at which the bytes can be fetched without us for `expires` seconds, None if there is none.

        The answer there has the type `media_type`, and offers to save itself under the file name `attachment`.
        """
        ...

    async def presign_put(self, key: str, expires: float, media_type: str, size: int) -> str | None:
        """An address that takes exactly one PUT of this type and size, None if there is none."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the bytes lie on this machine's disk, None if they do not; never a promise that they exist."""
        ...

    def listing(self, after: str | None = None) -> AsyncGenerator[Listed, None]:
        """Every finished key, always in the same order; those that come behind the key `after` if it is given.

        What is put or deleted meanwhile may be told or not. Raises `StorageUnavailable`.
        """
        ...

    async def check(self) -> None:
        """Return when the storage answers and takes writes; raises `StorageUnavailable` or `StorageFull`."""
        ...

    async def close(self) -> None:
        """Give back connections; the storage is not used afterwards."""
        ...


def checked_key(key: str) -> str:
    """The key itself, once it is sure that it cannot leave the root of any storage; raises `PathInvalid`."""
    if not key or key.startswith("/") or key.endswith("/") or "\\" in key or "\0" in key or len(key.encode()) > 900:
        raise PathInvalid(path=key[:100], reason="it is empty, absolute, too long or has a forbidden character")
    parts = key.split("/")
    if parts[0] == STAGING:
        raise PathInvalid(path=key[:100], reason=f"`{STAGING}` is kept for unfinished bytes")
    for part in parts:
        if part in ("", ".", "..") or len(part.encode()) > 255 or UNPRINTED.search(part):
            raise PathInvalid(path=key[:100], reason="one of its parts is empty, a dot, too long or unprintable")
    return key
