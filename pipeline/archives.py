"""Files packed into one archive while it is sent: never more than a piece of one is held, whatever their sizes.

A zip (with ZIP64 where it must be) stores what is compressed already and deflates what is not; a tar is POSIX.1-2001
(pax). An archive whose files are only stored has a length that is known beforehand.
"""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, cast, get_args

import zipstream

from pipeline.errors import StorageKeyNotFound
from pipeline.model import File
from pipeline.storage.base import Storage

Form = Literal["zip", "tar"]
FORMS: tuple[Form, ...] = get_args(Form)
MEDIA_TYPES: Mapping[Form, str] = {"zip": "application/zip", "tar": "application/x-tar"}

WORTH = ("text/", "application/json", "application/xml", "application/javascript", "application/x-tar")
"""What gets smaller when it is deflated, beside the ones below; everything else is compressed already, or may be."""
WORTH_TOO = frozenset({"image/svg+xml", "image/bmp", "image/x-portable-pixmap", "audio/wav", "audio/x-wav"})
BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A file in an archive, under its name there."""

    name: str
    file: File
    storage: Storage


def members_of(files: Sequence[File], storages: Mapping[str, Storage]) -> list[Member]:
    """The files in their order; a name that comes again gets a number."""
    names = distinct([file.name.replace("/", "_").replace("\\", "_") for file in files])
    return [Member(name, file, storages[file.storage]) for name, file in zip(names, files, strict=True)]


def distinct(names: Sequence[str]) -> list[str]:
    """The names, each later double with a number before its extension, without regard to case."""
    taken: set[str] = set()
    found = []
    for name in names:
        path, number, free = PurePosixPath(name), 1, name
        while free.lower() in taken:
            number += 1
            free = f"{path.stem}-{number}{path.suffix}"
        taken.add(free.lower())
        found.append(free)
    return found


def length_of(form: Form, members: Sequence[Member]) -> int | None:
    """How many bytes the archive will have; None when that shows only as it is made."""
    if form == "tar":
        return sum(len(_head(member)) + _padded(member.file.size) for member in members) + 2 * BLOCK
    if any(_is_worth(member.file.mime) for member in members):
        return None
    sized = zipstream.ZipStream(sized=True)
    for member in members:
        sized.add(_Fed(), member.name, size=member.file.size)
    return len(sized)


def packed(form: Form, members: Sequence[Member]) -> AsyncGenerator[bytes, None]:
    """The archive in pieces; nothing is handed out before the first file was found.

    Raises `StorageKeyNotFound` or `StorageUnavailable`, also half-way: then what was handed out is no archive.
    """
    return _tar(members) if form == "tar" else _zip(members)


async def _zip(members: Sequence[Member]) -> AsyncGenerator[bytes, None]:
    archive = zipstream.ZipStream()
    for member in members:
        worth, fed = _is_worth(member.file.mime), _Fed()
        method = zipstream.ZIP_DEFLATED if worth else zipstream.ZIP_STORED
        archive.add(fed, member.name, size=member.file.size, compress_type=method)
        async with aclosing(_entry(archive.file(), fed, member, apart=worth)) as entry:
            async for piece in entry:
                yield piece
    for piece in archive.footer():
        yield piece


async def _entry(
    entry: Generator[bytes, None, bool], fed: _Fed, member: Member, *, apart: bool
) -> AsyncGenerator[bytes, None]:
    """One file of a zip: the library takes in one piece for each it hands out. `apart`: in a thread, as it deflates."""
    head = True
    async for piece in _whole(member):
        fed.piece = piece
        if head:
            yield next(entry)
            head = False
        packed = await asyncio.to_thread(next, entry) if apart else next(entry)
        if packed:
            yield packed
    fed.ended = True
    for piece in entry:
        yield piece


async def _tar(members: Sequence[Member]) -> AsyncGenerator[bytes, None]:
    for member in members:
        head = _head(member)
        async for piece in _whole(member):
            if head:
                yield head
                head = b""
            yield piece
        yield head + bytes(_padded(member.file.size) - member.file.size)
    yield bytes(2 * BLOCK)


async def _whole(member: Member) -> AsyncIterator[bytes]:
    """All bytes of a file; raises `StorageKeyNotFound` when they are not as many as it has."""
    size = 0
    pieces = cast("AsyncGenerator[bytes, None]", member.storage.open(member.file.key))
    async with aclosing(pieces):
        async for piece in pieces:
            size += len(piece)
            yield piece
    if size != member.file.size:
        raise StorageKeyNotFound


def _head(member: Member) -> bytes:
    entry = tarfile.TarInfo(member.name)
    entry.size, entry.mode, entry.mtime = member.file.size, 0o644, int(member.file.created_at.timestamp())
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _is_worth(mime: str) -> bool:
    return mime.startswith(WORTH) or mime in WORTH_TOO or mime.endswith(("+json", "+xml"))


class _Fed:
    """What the zip library reads a file from: piece by piece, each laid there before it asks."""

    def __init__(self) -> None:
        self.piece: bytes | None = None
        self.ended = False

    def __iter__(self) -> Iterator[bytes]:
        while not self.ended:
            piece, self.piece = self.piece, None
            if piece is None:
                raise RuntimeError("the zip library asked for more than it was given")
            yield piece
