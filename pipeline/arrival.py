"""The bytes of one request on their way in: named, counted, typed and hashed while they stream.

Nothing is refused after the fact: a chunk is handed on only once it is within every limit, and the type is decided
from the first 8 KiB, before the second chunk is asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline import sniff
from pipeline.errors import BodyIncomplete, BodyTooLong, FileEmpty, FileTooLarge, TypeMismatch, TypeNotAllowed
from pipeline.sniff import HEAD_SIZE

HASH_BATCH = 1 << 20
NAME_BYTES = 200
EXTENSION_BYTES = 20
JOINERS = "\u200c\u200d"  # spelling in Persian and Indic scripts, and emoji, needs them
DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe_name(name: str, media_type: str | None = None) -> str:
    """`name` as a file may bear it on any disk and in any header: one part, printable, at most 200 bytes of UTF-8.

    What is left empty becomes `file` with the extension of `media_type`.
    """
    last = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1])
    shown = "".join(c for c in last if c in JOINERS or unicodedata.category(c) not in DROPPED)
    cleaned = " ".join(shown.split()).strip(". ")
    return _shortened(cleaned) or _nameless(media_type)


def _nameless(media_type: str | None) -> str:
    extension = sniff.extension(media_type) if media_type else ""
    return f"file.{extension}" if extension else "file"


def _shortened(name: str) -> str:
    if len(name.encode()) <= NAME_BYTES:
        return name
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > EXTENSION_BYTES:
        suffix = ""
    stem = name[: len(name) - len(suffix)].encode()[: NAME_BYTES - len(suffix.encode())]
    return stem.decode(errors="ignore").rstrip(". ") + suffix


class Digest:
    """A sha256 that grows while bytes stream; large batches are hashed in a thread beside the event loop."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._running: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Take `chunk` in; waits only while an earlier batch is still being hashed, so that memory stays bounded."""
        self._waiting.append(chunk)
        self._waiting_size += len(chunk)
        if self._waiting_size < HASH_BATCH:
            return
        await self._settle()
        batch, self._waiting, self._waiting_size = self._waiting, [], 0
        self._running = asyncio.get_running_loop().run_in_executor(None, self._update, batch)

    async def hex(self) -> str:
        """The digest of everything taken in, as 64 hex digits."""
        await self._settle()
        self._update(self._waiting)
        self._waiting, self._waiting_size = [], 0
        return self._hash.hexdigest()

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

    def check_size(self, size: int) -> None:
        """Raise `BodyTooLong` or `FileTooLarge` when `size` bytes are too many."""
        if self.declared_size is not None and size > self.declared_size:
            raise BodyTooLong(declared=self.declared_size)
        if size > self.limit:
            raise FileTooLarge(limit=self.limit)

    def check_end(self, size: int) -> None:
        """Raise `BodyIncomplete` or `FileEmpty` when a body that ended after `size` bytes is not whole."""
        if self.declared_size is not None and size < self.declared_size:
            raise BodyIncomplete(received=size, declared=self.declared_size)
        if not size:
            raise FileEmpty(name=self.name)

    def type_of(self, head: bytes) -> str:
        """The media type that the first bytes have; raises `TypeNotAllowed` or `TypeMismatch`."""
        found = sniff.media_type(head, self.name)
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
        self._first: list[bytes] = []
        self._fault: Exception | None = None
        self._ended = False
        self.size = offset
        """Where the file stands after the chunks handed on so far, in bytes."""
        self.media_type: str | None = None
        """The type, once decided; stays None for a later part, or one too short to tell."""
        self.digest = Digest()

    async def open(self) -> None:
        """Read as much as the type needs and decide it; nothing has been handed on when this raises."""
        if self.size:
            return
        try:
            await self._read_head()
        except Exception as fault:
            if self._whole or not self._first or isinstance(fault, BodyTooLong | FileTooLarge):
                raise
            self._fault = fault  # what came before the cut is still worth keeping
            return
        self._decide_type()

    async def _read_head(self) -> None:
        while self.size < HEAD_SIZE:
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
            if self._whole:
                await self.digest.add(chunk)
            yield chunk
        self._first = []
        if self._fault:
            raise self._fault
        if not self._ended:
            async for chunk in self._chunks:
                self._count(chunk)
                if self._whole:
                    await self.digest.add(chunk)
                yield chunk
        if self._whole:
            self._rules.check_end(self.size)

    def _count(self, chunk: bytes) -> None:
        self._rules.check_size(self.size + len(chunk))
        self.size += len(chunk)
