"""The records of files, made again from the manifests that lie beside their bytes.

A storage is gone through once, in short steps, however many files it holds. What has a record is left as it is, and so
is what an upload or a run on record has not made a file: it will, or it never was one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar, cast

from pydantic import ValidationError

from pipeline.errors import PathInvalid, RunNotFound, StorageKeyNotFound, StorageUnavailable
from pipeline.model import File
from pipeline.records import Records
from pipeline.storage.base import Storage
from pipeline.stored import MANIFEST

BATCH = 100
AT_ONCE = 16
"""Manifests that are read at the same time."""
LARGEST = 4 * 1024 * 1024
"""No manifest is larger, bytes."""
UNTRUE = "it does not describe the bytes beside it"
UNREAD = "it cannot be read"

M = TypeVar("M")
T = TypeVar("T")


@dataclass
class Rebuilt:
    """What was found in one storage."""

    storage: str
    restored: int = 0
    known: int = 0
    """Files that were on record, or that something newer describes."""
    pending: int = 0
    """Files that an upload or a run on record has not committed."""
    unsound: int = 0
    """Manifests that cannot be read, or do not describe the bytes beside them."""
    away: bool = False
    """Whether the storage did not answer, at once or after a while."""


class Rebuild:
    """Goes through storages and puts on record what their manifests tell.

    `note` is given a line for every manifest that is of no use: where it is, and why.
    """

    def __init__(self, records: Records, storages: Mapping[str, Storage], note: Callable[[str], None]) -> None:
        self._records = records
        self._storages = storages
        self._note = note

    async def rebuild(self, name: str) -> Rebuilt:
        """Restore the record of every file in the storage `name`; raises `RecordsUnavailable`."""
        storage, found = self._storages[name], Rebuilt(name)
        try:
            async with aclosing(_batches(storage)) as batches:
                async for batch in batches:
                    await self._restore(storage, batch, found)
        except StorageUnavailable:
            found.away = True
        return found

    async def _restore(self, storage: Storage, keys: Sequence[str], found: Rebuilt) -> None:
        told = dict(zip(keys, await _each(keys, lambda key: _told(storage, key)), strict=True))
        if all(word == UNREAD for word in told.values()):
            raise StorageUnavailable
        for key, word in told.items():
            if isinstance(word, str):
                self._reject(key, word, found)
        files = [word.model_copy(update={"storage": found.storage}) for word in told.values() if isinstance(word, File)]
        fresh = await self._without_record(files, found)
        await _each(fresh, lambda file: self._create(storage, file, found))

    async def _without_record(self, files: Sequence[File], found: Rebuilt) -> Sequence[File]:
        """Those of the files that are to be put on record; the others are counted."""
        newest = {file.id: file for file in sorted(files, key=lambda file: file.created_at)}
        records = await self._records.files.get_many(list(newest))
        missing = [file for file, record in zip(newest.values(), records, strict=True) if record is None]
        pending = await self._pending(missing)
        found.known += len(files) - len(missing)
        found.pending += len(pending)
        return [file for file in missing if file.id not in pending]

    async def _pending(self, files: Sequence[File]) -> set[str]:
        arriving = await self._records.uploads.known([file.id for file in files if file.run is None])
        runs = sorted({file.run for file in files if file.run is not None})
        standing = await self._records.retention.standing(runs)
        committed = {id for run in standing for id in await self._outputs(run)}
        return arriving | {file.id for file in files if file.run in standing and file.id not in committed}

    async def _outputs(self, run_id: str) -> Sequence[str]:
        try:
            return [output.id for output in (await self._records.runs.get(run_id)).outputs]
        except RunNotFound:  # forgotten this moment
            return []

    async def _create(self, storage: Storage, file: File, found: Rebuilt) -> None:
        # Looked at last: a file that is deleted meanwhile must not come back.
        if (fault := await _fault_of(storage, file)) is not None:
            self._reject(file.key + MANIFEST, fault, found)
        elif await self._records.files.create(file):
            found.restored += 1
        else:
            found.known += 1

    def _reject(self, key: str, reason: str, found: Rebuilt) -> None:
        found.unsound += 1
        self._note(f"storage `{found.storage}`, {key}: {reason}")


async def _batches(storage: Storage) -> AsyncGenerator[list[str], None]:
    """The keys that may be those of manifests."""
    batch: list[str] = []
    async with aclosing(storage.listing()) as listing:
        async for listed in listing:
            if listed.key.endswith(MANIFEST) and listed.size <= LARGEST:
                batch.append(listed.key)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


async def _told(storage: Storage, key: str) -> File | str | None:
    """The File that a manifest tells of, or why it is of no use; None for a key that is no manifest's."""
    try:
        file = _parsed(await _text(storage, key))
        base = key.removesuffix(MANIFEST)
        if file is not None and file.key == base and base.startswith(f"{file.project}/"):
            return file
        return UNTRUE if await _is_there(storage, base) else None
    except (PathInvalid, StorageKeyNotFound):
        return None
    except StorageUnavailable:
        return UNREAD


def _parsed(text: bytes) -> File | None:
    try:
        return File.model_validate_json(text)
    except ValidationError:
        return None


async def _text(storage: Storage, key: str) -> bytes:
    async with aclosing(cast("AsyncGenerator[bytes, None]", storage.open(key))) as pieces:
        return b"".join([piece async for piece in pieces])


async def _is_there(storage: Storage, key: str) -> bool:
    return await storage.stat(key) is not None


async def _fault_of(storage: Storage, file: File) -> str | None:
    try:
        stat = await storage.stat(file.key)
    except StorageUnavailable:
        return UNREAD
    return None if stat is not None and stat.size == file.size else UNTRUE


async def _each(members: Sequence[M], act: Callable[[M], Awaitable[T]]) -> list[T]:
    """What `act` makes of each, a few at a time; all are through when this raises what one of them met."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(member: M) -> T:
        async with turns:
            return await act(member)

    done = await asyncio.gather(*map(one, members), return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", done)
