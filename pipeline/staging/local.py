"""Staging in the folder of a local storage: one growing file an upload, put into place by a rename."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from pipeline.errors import OffsetMismatch, StorageUnavailable
from pipeline.model import Upload
from pipeline.staging.base import Check, Staged, passes, unchecked
from pipeline.storage.base import PIECE
from pipeline.storage.drafts import BATCH, Draft, faults_spoken, finished, sync_folder
from pipeline.storage.local import DRAFT, LocalStorage
from pipeline.storage.together import Together

PARTS = ".parts"
FRESH = 30.0
"""Seconds for which the system still has in memory what it was given to write."""


class LocalStaging:
    """Keeps arriving bytes in `.staging/<upload id>`, and numbered parts in the folder `.staging/<upload id>.parts`."""

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage
        self._draft = f"{DRAFT}{uuid4()}-"
        self._numbers = count()
        self._replacing = Together(self._replaced)

    async def append(
        self,
        upload: Upload,
        offset: int,
        chunks: AsyncIterable[bytes],
        *,
        final: bool = False,
        check: Check = unchecked,
    ) -> int:
        await self._storage.prepare()
        draft = await self._sole(self._whole(upload))
        try:
            if offset != draft.position:
                raise OffsetMismatch(expected=draft.position, given=offset)
            await self._fill(draft, chunks, final, check)
            return draft.position
        finally:
            draft.close()

    async def replace(self, upload: Upload, body: bytes) -> None:
        draft = await self._drafted()
        try:
            await draft.take(body)
            draft.flush()
            await self._replacing.settle(_Landing(draft, self._whole(upload)))
        except BaseException:
            draft.path.unlink(missing_ok=True)
            raise
        finally:
            draft.close()

    async def _drafted(self) -> Draft:
        path = self._storage.staging / f"{self._draft}{next(self._numbers)}"
        try:
            return Draft.create(path)
        except StorageUnavailable as fault:
            if not isinstance(fault.__cause__, FileNotFoundError):
                raise
            await self._storage.prepare()
            return Draft.create(path)

    def _replaced(self, landing: _Landing) -> set[Path]:
        landing.draft.sync()
        with faults_spoken(landing.place):
            landing.draft.path.replace(landing.place)
        return {self._storage.staging}

    async def read(self, upload: Upload, most: int) -> bytes | None:
        with faults_spoken(whole := self._whole(upload)):
            try:
                descriptor = os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                reading = partial(os.read, descriptor, most + 1)
                is_fresh = os.fstat(descriptor).st_mtime > time.time() - FRESH
                body = reading() if is_fresh else await finished(reading)
            finally:
                os.close(descriptor)
        return body if len(body) <= most else None

    async def offset(self, upload: Upload) -> int:
        with faults_spoken(self._whole(upload)):
            # Parts first: a promotion that was cut off while it joined them left a whole that is not one.
            files = self._numbered(upload) or [self._whole(upload)]
            return sum(file.stat().st_size for file in files if file.exists())

    async def part(self, upload: Upload, number: int, chunks: AsyncIterable[bytes]) -> int:
        await self._storage.prepare()
        folder = self._parts(upload)
        with faults_spoken(folder):
            folder.mkdir(exist_ok=True)
        draft = Draft.create(folder / f"arriving-{uuid4()}")
        try:
            async for chunk in chunks:
                await draft.take(chunk)
            draft.flush()
            await finished(partial(self._keep, draft, folder / f"{number:05}"))
            return draft.position
        finally:
            draft.close()
            draft.path.unlink(missing_ok=True)

    async def parts(self, upload: Upload) -> Mapping[int, int]:
        with faults_spoken(self._parts(upload)):
            return {int(file.name): file.stat().st_size for file in self._numbered(upload)}

    async def part_url(self, upload: Upload, number: int, size: int, expires: float) -> str | None:
        return None

    async def confirm(self, upload: Upload, tags: Mapping[int, str]) -> None:
        return None

    async def put_url(self, upload: Upload, media_type: str, size: int, expires: float) -> str | None:
        return None

    async def promote(self, upload: Upload, media_type: str) -> None:
        target = self._storage.path(upload.key)
        await self._storage.prepare()
        await finished(partial(self._promote, upload, target))

    async def drop(self, upload: Upload) -> None:
        size = upload.intake.declared_size
        if upload.way == "put" and size is not None and size <= BATCH:
            return self._forget(upload)
        return await finished(partial(self._forget, upload))

    async def left(self, before: datetime) -> AsyncGenerator[Staged, None]:
        for staged in await finished(self._staged):
            if staged.modified < before:
                yield staged

    async def discard(self, staged: Staged) -> None:
        await finished(partial(self._remove, self._storage.staging / staged.name))

    async def _sole(self, whole: Path) -> Draft:
        """The growing file, written by us alone: one who lost his turn and still has it open is left with the old."""
        draft = Draft.resume(whole)
        if draft.lock():
            return draft
        draft.close()
        await finished(partial(self._replace_by_copy, whole))
        return await self._sole(whole)

    def _replace_by_copy(self, whole: Path) -> None:
        copy = whole.with_name(f"{DRAFT}{uuid4()}")
        with faults_spoken(whole):
            try:
                shutil.copyfile(whole, copy)
                copy.replace(whole)
            finally:
                copy.unlink(missing_ok=True)

    async def _fill(self, draft: Draft, chunks: AsyncIterable[bytes], final: bool, check: Check) -> None:
        try:
            async for chunk in chunks:
                check()
                await draft.take(chunk)
            check()
            draft.flush()
        except BaseException:
            if passes(check):
                draft.flush()
            await finished(partial(self._sync, draft))
            raise
        if not final:
            await finished(partial(self._sync, draft))

    def _promote(self, upload: Upload, target: Path) -> None:
        whole, numbered = self._whole(upload), self._numbered(upload)
        if numbered:
            self._join(numbered, whole)
        elif not whole.exists() and target.exists():
            return  # an earlier promotion that was cut off after its rename
        draft = Draft.resume(whole)
        try:
            self._storage.settle(draft, target)
        finally:
            draft.close()
        self._forget(upload)

    def _join(self, numbered: list[Path], whole: Path) -> None:
        with faults_spoken(whole), whole.open("wb") as joined:
            for part in numbered:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, joined, PIECE)

    def _keep(self, draft: Draft, place: Path) -> None:
        self._sync(draft)
        with faults_spoken(place):
            draft.path.replace(place)
            sync_folder(place.parent)

    def _sync(self, draft: Draft) -> None:
        draft.sync()
        with faults_spoken(draft.path):
            sync_folder(self._storage.staging)

    def _forget(self, upload: Upload) -> None:
        with faults_spoken(whole := self._whole(upload)):
            whole.unlink(missing_ok=True)
        if upload.way != "put":
            self._remove(self._parts(upload))

    def _remove(self, path: Path) -> None:
        with faults_spoken(path):
            try:
                path.unlink(missing_ok=True)
            except IsADirectoryError:
                while path.is_dir():
                    with suppress(FileNotFoundError):  # somebody else removes it too
                        shutil.rmtree(path)

    def _staged(self) -> list[Staged]:
        folder = self._storage.staging
        with faults_spoken(folder):
            found = sorted(folder.iterdir()) if folder.is_dir() else []
            return [staged for path in found if (staged := _as_left(path))]

    def _numbered(self, upload: Upload) -> list[Path]:
        return sorted(self._parts(upload).glob("[0-9]*"))

    def _whole(self, upload: Upload) -> Path:
        return self._storage.staging / upload.id

    def _parts(self, upload: Upload) -> Path:
        return self._storage.staging / f"{upload.id}{PARTS}"


class _Landing(NamedTuple):
    """All bytes of an upload on their way to where they wait."""

    draft: Draft
    place: Path


def _as_left(path: Path) -> Staged | None:
    """What lies at `path`, None when it has just been put into its place."""
    with suppress(FileNotFoundError):
        files = [path, *path.iterdir()] if path.is_dir() else [path]
        modified = max(file.stat().st_mtime for file in files)
        upload = None if path.name.startswith(DRAFT) else path.name.removesuffix(PARTS)
        return Staged(path.name, datetime.fromtimestamp(modified, UTC), upload)
    return None
