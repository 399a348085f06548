"""What becomes of files after they arrived: keep, delete, and the end of those that nobody came back for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from pipeline.errors import FileNotFound, UploadBusy
from pipeline.model import File, Grant, now
from pipeline.records import Records
from pipeline.storage.base import Storage
from pipeline.stored import delete_bytes, write_manifest
from pipeline.uploads import Becoming, Cleaning, Holds


class Files:
    """The verbs on finished files."""

    def __init__(
        self,
        *,
        records: Records,
        storages: Mapping[str, Storage],
        holds: Holds,
        becoming: Becoming,
        cleaning: Cleaning,
    ) -> None:
        self._records = records
        self._storages = storages
        self._holds = holds
        self._becoming = becoming
        self._cleaning = cleaning

    async def get(self, grant: Grant, id: str) -> File:
        """The project's file; raises `FileNotFound`."""
        file = await self._records.files.get(id)
        if file.project != grant.project.id:
            raise FileNotFound(id=id)
        return file

    async def keep(self, grant: Grant, id: str) -> File:
        """Store a file for good; a second time changes nothing. Raises `FileNotFound`."""
        file = await self.get(grant, id)
        if file.stored_at is not None:
            return file
        async with self._holds.of(id):
            file = await self._records.files.store(id, now())
            await write_manifest(self._storages[file.storage], file)
        await self._becoming.announce(grant, file)
        return file

    async def delete(self, grant: Grant, id: str) -> File:
        """Remove a file: bytes, manifest and record; raises `FileNotFound`, also the second time."""
        await self.get(grant, id)
        async with self._holds.of(id):
            file = await self.get(grant, id)
            await self._cleaning.to_the_end(self._remove(file))
            return file

    async def expire(self, id: str, before: datetime) -> bool:
        """Remove a file that nobody stored by `before`; whether it was for us to do. Raises `StorageUnavailable`."""
        return await self._expired(id, lambda file: file.expires_at is not None and file.expires_at <= before)

    async def expire_output(self, id: str, before: datetime) -> bool:
        """Remove an output made before `before`; whether it was for us to do. Raises `StorageUnavailable`."""
        return await self._expired(id, lambda file: file.run is not None and file.created_at < before)

    async def _remove(self, file: File) -> None:
        await delete_bytes(self._storages[file.storage], file.key)
        await self._records.files.delete(file.id)

    async def _expired(self, id: str, is_due: Callable[[File], bool]) -> bool:
        try:
            async with self._holds.of(id):
                file = await self._records.files.get(id)
                if due := is_due(file):
                    await self._remove(file)
                return due
        except (UploadBusy, FileNotFound):
            return False  # in use, or another worker was faster
