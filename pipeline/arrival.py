"""The bytes of one request on their way in: counted, typed and hashed while they stream.

Nothing is refused after the fact: a chunk is handed on only once it is within every limit, and the type is decided
from the first 8 KiB, before the second chunk is asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline import sniff
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileEmpty,
    FileTooLarge,
    FileTooSmall,
    ScanTooLarge,
    SvgRefused,
    TypeMismatch,
    TypeNotAllowed,
)
from pipeline.sniff import HEAD_SIZE

HASH_BATCH = 1 << 20
"""Bytes that are worth a visit to a thread."""
HASH_AHEAD = 2 << 20
"""Bytes that may wait while others are hashed."""
SVG = "image/svg+xml"


class Hasher(Protocol):
    """What takes bytes in and comes to a digest, as those of `hashlib` do."""

    def update(self, data: bytes, /) -> Any: ...

    def digest(self) -> bytes: ...


class Digest:
    """A sha256, or another one, that grows while bytes stream; large batches are hashed beside the event loop."""

    def __init__(self, hasher: Hasher | None = None) -> None:
        self._hash: Hasher = hasher or hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._running: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Take `chunk` in; waits only when too much has not been hashed yet, so that memory stays bounded."""
        self._waiting.append(chunk)
        self._waiting_size += len(chunk)
        if self._waiting_size < HASH_BATCH:
            return
        if self._running is None or self._running.done() or self._waiting_size >= HASH_AHEAD:
            await self._settle()
            batch, self._waiting, self._waiting_size = self._waiting, [], 0
            self._running = asyncio.get_running_loop().run_in_executor(None, self._update, batch)

    async def hex(self) -> str:
        """The digest of everything taken in, as hex digits: 64 of a sha256."""
        return (await self.value()).hex()

    async def value(self) -> bytes:
        """The digest of everything taken in."""
        await self._settle()
        self._update(self._waiting)
        self._waiting, self._waiting_size = [], 0
        return self._hash.digest()

    async def _settle(self) -> None:
        if self._running is not None:
            await self._running
            self._running = None

    def _update(self, batch: list[bytes]) -> None:
        for chunk in batch:
            self._hash.update(chunk)


@dataclass(frozen=True)
class Rules:
    """What one file must keep to: sizes in bytes, `allowed` the lists of types that must all let it pass."""

    name: str
    limit: int
    declared_size: int | None
    declared_type: str | None
    allowed: Sequence[Sequence[str]]
    may_be_empty: bool = False
    least: int = 0
    scan_limit: int | None = None
    """What the virus scanner takes, bytes."""
    takes_svg: bool = True

    def check_claims(self) -> None:
        """Raise, before a byte has come, what a file as it was declared is bound to be refused for."""
        if self.declared_size is not None:
            self.check_size(self.declared_size)
            if self.declared_size:  # that it is empty is told when it has come
                self._check_least(self.declared_size)
        if self.declared_type is not None:
            self._check_claimed(self.declared_type)

    def check_size(self, size: int) -> None:
        """Raise `BodyTooLong`, `FileTooLarge` or `ScanTooLarge` when `size` bytes are too many."""
        if self.declared_size is not None and size > self.declared_size:
            raise BodyTooLong(declared=self.declared_size)
        if size > self.limit:
            raise FileTooLarge(limit=self.limit)
        if self.scan_limit is not None and size > self.scan_limit:
            raise ScanTooLarge

    def check_end(self, size: int) -> None:
        """Raise `BodyIncomplete`, `FileEmpty` or `FileTooSmall` when a body may not end after `size` bytes."""
        if self.declared_size is not None and size < self.declared_size:
            raise BodyIncomplete(received=size, declared=self.declared_size)
        if not size and not self.may_be_empty:
            raise FileEmpty(name=self.name)
        self._check_least(size)

    def _check_least(self, size: int) -> None:
        if size < self.least:
            raise FileTooSmall(size=size, least=self.least)

    def _check_claimed(self, declared: str) -> None:
        if not self.takes_svg and sniff.canonical(declared) == SVG:
            raise SvgRefused
        for patterns in self.allowed:
            if not sniff.may_be_allowed(declared, patterns):
                raise TypeNotAllowed(found=sniff.canonical(declared), allowed=", ".join(patterns))

    def type_of(self, head: bytes) -> str:
        """The media type that the first bytes have; raises `SvgRefused`, `TypeNotAllowed` or `TypeMismatch`."""
        found = sniff.media_type(head, self.name)
        if found == SVG and not self.takes_svg:
            raise SvgRefused
        for patterns in self.allowed:
            if not sniff.allowed(found, patterns):
                raise TypeNotAllowed(found=found, allowed=", ".join(patterns))
        if not sniff.agrees(self.declared_type, found):
            raise TypeMismatch(declared=self.declared_type, found=found)
        return found


class Arrival:
    """The chunks of one body, to be iterated once; `whole` says that the body is the entire file."""

    def __init__(self, chunks: AsyncIterable[bytes], rules: Rules, offset: int = 0, *, whole: bool = False) -> None:
        self._chunks = aiter(chunks)
        self._rules = rules
        self._whole = whole
        self._hashed = whole or not offset
        self._first: list[bytes] = []
        self._fault: BaseException | None = None
        self._ended = False
        self.size = offset
        """Where the file stands after the chunks handed on so far, in bytes."""
        self.media_type: str | None = None
        """The type, once decided; stays None for a later part, or one too short to tell."""
        self.digest = Digest()
        """Of everything from the first byte on; of a later part it tells nothing."""

    @property
    def is_measured(self) -> bool:
        """Whether type and digest of the whole file are known, if this was all of it."""
        return self._hashed and self.media_type is not None

    async def open(self) -> None:
        """Read as much as the type needs and decide it; nothing has been handed on when this raises."""
        if self.size:
            return
        try:
            await self._read(HEAD_SIZE)
        except (Exception, asyncio.CancelledError) as fault:
            if self._whole or not self._first or isinstance(fault, BodyTooLong | FileTooLarge):
                raise
            self._fault = fault  # what came before the cut is still worth keeping
            return
        self._decide_type()

    async def held(self, most: int) -> bytes | None:
        """All of the body, hashed, when that is at most `most` bytes; else None, and it is to be iterated."""
        if (self._rules.declared_size or 0) <= most:
            await self._read(most + 1)
        if not self._ended:
            return None
        self._rules.check_end(self.size)
        for chunk in self._first:
            await self.digest.add(chunk)
        return b"".join(self._first)

    async def _read(self, least: int) -> None:
        while self.size < least and not self._ended:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                self._ended = True
                return
            if chunk:
                self._count(chunk)
                self._first.append(chunk)

    def _decide_type(self) -> None:
        if self._whole and self._ended:
            self._rules.check_end(self.size)
        if self.size >= HEAD_SIZE or self._whole or self.size == self._rules.declared_size:
            self.media_type = self._rules.type_of(b"".join(self._first)[:HEAD_SIZE])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._first:
            if self._hashed:
                await self.digest.add(chunk)
            yield chunk
        self._first = []
        if self._fault:
            raise self._fault
        if not self._ended:
            async for chunk in self._chunks:
                self._count(chunk)
                if self._hashed:
                    await self.digest.add(chunk)
                yield chunk
        if self._whole:
            self._rules.check_end(self.size)

    def _count(self, chunk: bytes) -> None:
        self._rules.check_size(self.size + len(chunk))
        self.size += len(chunk)
