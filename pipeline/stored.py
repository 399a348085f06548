"""Finished bytes and the manifest beside them: write it, take both away, or have the bytes as a local file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from pipeline.errors import StorageFull
from pipeline.model import File, new_id
from pipeline.records.files import Files
from pipeline.storage.base import Content, Storage

MANIFEST = ".json"


@contextlib.asynccontextmanager
async def local_copy(storage: Storage, key: str, folder: Path) -> AsyncIterator[Path]:
    """A path at which the bytes under `key` can be read while the block runs; a copy in `folder` only if need be."""
    path = storage.local_path(key)
    if path is not None:
        yield path
        return
    copy = folder / new_id()
    await copy_to(storage, key, copy)
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)


async def copy_to(storage: Storage, key: str, path: Path) -> None:
    """Write the bytes under `key` to a file at `path`, whole or not at all.

    Raises `StorageKeyNotFound`, `StorageUnavailable` or, when it is this disk that is full, `StorageFull`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as copy:
            async for chunk in storage.open(key):
                await asyncio.to_thread(copy.write, chunk)
    except BaseException as fault:
        path.unlink(missing_ok=True)
        if isinstance(fault, OSError):
            raise StorageFull from fault
        raise


async def write_manifest(storage: Storage, file: File) -> None:
    """Put the File beside its bytes as `<key>.json`, from which every record can be rebuilt."""
    key, text, media_type = manifest(file)
    await storage.put(key, _once(text), len(text), media_type)


def manifest(file: File, text: bytes | None = None) -> Content:
    """What lies beside the bytes of a File; `text` is the File as JSON, when that is known already."""
    return Content(file.key + MANIFEST, text or file.model_dump_json().encode(), "application/json")


async def describe(files: Files, storage: Storage, file: File) -> None:
    """Put the newest that is on record of a file beside its bytes, also when others change it meanwhile."""
    while True:
        await write_manifest(storage, file)
        newest = await files.get(file.id)
        if newest == file:
            return
        file = newest


def derivative_key(file: File, name: str) -> str:
    """Where something made of a file, that can be made again, is to lie; the sweep of orphans knows the form."""
    return f"{file.project}/derived/{file.id[:2]}/{file.id}/{name}"


async def delete_bytes(storage: Storage, key: str) -> None:
    """Remove the bytes under `key` and their manifest; a second time is fine."""
    await storage.delete(key)
    await storage.delete(key + MANIFEST)


async def _once(text: bytes) -> AsyncIterator[bytes]:
    yield text
