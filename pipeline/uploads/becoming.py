"""How promoted bytes become a File: measured, described beside them, on record, and announced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog

from pipeline.errors import SafelightError, UploadNotFound
from pipeline.imaging.header import facts_of, is_read
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, Grant, ImageFacts, Upload, now
from pipeline.records import Records
from pipeline.settings import Settings
from pipeline.storage.base import Storage
from pipeline.stored import local_copy, write_manifest

HEADER_TIMEOUT = 20.0

OnStored = Callable[[Grant, File], Awaitable[None]]

log = structlog.stdlib.get_logger(__name__)


class Becoming:
    """The one way from bytes under their final key to a File; `on_stored` is told of every file kept for good."""

    def __init__(
        self,
        settings: Settings,
        records: Records,
        storages: Mapping[str, Storage],
        headers: Sandbox,
        on_stored: OnStored,
    ) -> None:
        self._settings = settings
        self._records = records
        self._storages = storages
        self._headers = headers
        self._on_stored = on_stored

    async def file(self, grant: Grant, upload: Upload, media_type: str, size: int, digest: str) -> File:
        """The File that promoted bytes become; raises `ImageUnreadable` or `ImageTooLarge`."""
        image = await self._measure(upload, media_type)
        file = self._file(grant, upload, media_type, size, digest, image)
        await write_manifest(self._storages[file.storage], file)
        await self._commit(file)
        if file.stored_at is not None:
            await self.announce(grant, file)
        return file

    async def announce(self, grant: Grant, file: File) -> None:
        """Tell of a file that is kept for good; what goes wrong behind it is only logged."""
        try:
            await self._on_stored(grant, file)
        except SafelightError as error:
            log.warning("on_upload_failed", file=file.id, code=error.code, reason=error.message)

    async def is_file(self, id: str) -> bool:
        """Whether the upload of this id has become a File."""
        (file,) = await self._records.files.get_many([id])
        return file is not None

    def _file(
        self, grant: Grant, upload: Upload, media_type: str, size: int, digest: str, image: ImageFacts | None
    ) -> File:
        intake, at = upload.intake, now()
        stored = grant.project.auto_store if intake.store is None else intake.store
        return File(
            id=upload.id,
            project=upload.project,
            storage=upload.storage,
            key=upload.key,
            name=intake.name,
            mime=media_type,
            size=size,
            sha256=digest,
            image=image,
            metadata=intake.metadata,
            private=intake.private,
            created_at=at,
            stored_at=at if stored else None,
            expires_at=None if stored else at + timedelta(seconds=self._settings.unstored_expiry),
        )

    async def _measure(self, upload: Upload, media_type: str) -> ImageFacts | None:
        """What the header of an image says, None for any other file; raises `ImageUnreadable` or `ImageTooLarge`."""
        allowed, frames = self._settings.allowed_formats, self._settings.max_frames
        if not is_read(media_type, allowed):
            return None
        caps = [cap for cap in (self._settings.max_pixels, upload.intake.max_pixels) if cap is not None]
        async with local_copy(self._storages[upload.storage], upload.key, self._settings.data_dir / "tmp") as path:
            return await facts_of(self._headers, str(path), media_type, allowed, min(caps), frames, HEADER_TIMEOUT)

    async def _commit(self, file: File) -> None:
        try:
            await self._records.uploads.finish(file.id, file)
        except UploadNotFound:
            if not await self.is_file(file.id):  # a commit sent twice by the client library finds itself done
                raise
