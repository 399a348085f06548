"""How promoted bytes become a File: measured, described beside them, on record, and announced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Protocol

import structlog

from pipeline.errors import ChecksumMismatch, FileInfected, SafelightError, UploadNotFound
from pipeline.model import File, Grant, ImageFacts, Project, Run, Upload, now
from pipeline.records import Records
from pipeline.records.files import Starts
from pipeline.records.queue import Slip
from pipeline.settings import Settings
from pipeline.storage.base import Content, Storage
from pipeline.stored import manifest, write_manifest
from pipeline.uploads.vetting import Vetting


class OnStored(Protocol):
    """Hears of a file that is kept for good, and whether anything can have been ordered for such."""

    def __call__(self, grant: Grant, file: File, *, ordered: bool = True) -> Awaitable[None]: ...


Prepare = Callable[[Grant, Upload, File], Awaitable[tuple[Run, Slip] | None]]
Look = Callable[[File], None]

STRANDED_AFTER = timedelta(seconds=30)
"""How long whoever stored a file has to tell of it himself."""
GIVEN_UP_AFTER = timedelta(days=1)
"""How long it is tried again for him."""
CATCH_UP = 500
"""Files that are looked at in one step."""

log = structlog.stdlib.get_logger(__name__)


class Becoming:
    """The one way from bytes under their final key to a File; `on_stored` is told of every file kept for good.

    `prepare` makes ready the run that follows a file, which comes to be with it.
    """

    def __init__(
        self,
        settings: Settings,
        records: Records,
        storages: Mapping[str, Storage],
        vetting: Vetting,
        on_stored: OnStored,
        prepare: Prepare,
    ) -> None:
        self._settings = settings
        self._records = records
        self._storages = storages
        self._vetting = vetting
        self._on_stored = on_stored
        self._prepare = prepare

    async def file(
        self, grant: Grant, upload: Upload, media_type: str, size: int, digest: str, look: Look | None = None
    ) -> File:
        """The File that promoted bytes become; raises `QuotaExceeded`, `ChecksumMismatch`, and as `look`."""
        _check_digest(upload, digest)
        try:
            vetted = await self._vetting.vet(grant, upload, media_type, size, digest)
        except FileInfected as virus:
            draft = self.drafted(grant, upload, media_type, size, digest, None)
            await self._records.uploads.condemn(draft, virus.facts["signature"])
            raise
        file = self.drafted(grant, upload, media_type, vetted.size, vetted.digest, vetted.image)
        if look:
            look(file)
        return await self.become(grant, file, await self._prepare(grant, upload, file))

    async def at_once(
        self, grant: Grant, upload: Upload, media_type: str, body: bytes, digest: str, look: Look | None = None
    ) -> File:
        """The same of an upload whose bytes are all in memory and in no storage yet."""
        _check_digest(upload, digest)
        storage = self._storages[upload.storage]
        if self._vetting.is_read(grant, media_type):
            await storage.put_all([Content(upload.key, body, media_type)])
            return await self.file(grant, upload, media_type, len(body), digest, look)
        await self._vetting.vet(grant, upload, media_type, len(body), digest)
        file = self.drafted(grant, upload, media_type, len(body), digest, None)
        if look:
            look(file)
        following = await self._prepare(grant, upload, file)
        text = file.model_dump_json().encode()
        await storage.put_all([Content(file.key, body, media_type), manifest(file, text)])
        return await self._known(grant, file, following, text)

    async def become(self, grant: Grant, file: File, following: tuple[Run, Slip] | None = None) -> File:
        """The File whose bytes lie under its key and whose facts are known; raises `QuotaExceeded`."""
        await write_manifest(self._storages[file.storage], file)
        return await self._known(grant, file, following)

    async def _known(
        self, grant: Grant, file: File, following: tuple[Run, Slip] | None, text: bytes | None = None
    ) -> File:
        ordered = await self._commit(grant, file, following, text)
        if file.stored_at is not None:
            await self.announce(grant, file, ordered=ordered)
        return file

    async def announce(self, grant: Grant, file: File, *, ordered: bool = True) -> None:
        """Tell of a file that is kept for good; what goes wrong behind it is logged, and made up for by `catch_up`."""
        try:
            await self._on_stored(grant, file, ordered=ordered)
            if starts_of(grant.project, file) == "some" or (ordered and file.root is None):
                await self._records.files.started(file.id)
        except SafelightError as error:
            log.warning("on_upload_failed", file=file.id, code=error.code, reason=error.message)

    async def catch_up(self) -> int:
        """Tell of files that were stored a while ago and that nobody came to tell of; returns how many."""
        ids = await self._records.files.starting(now() - STRANDED_AFTER, CATCH_UP)
        for id, file in zip(ids, await self._records.files.get_many(ids), strict=True):
            project = self._settings.projects.get(file.project) if file else None
            if file is None or project is None or file.stored_at is None or file.stored_at < now() - GIVEN_UP_AFTER:
                await self._records.files.started(id)
                continue
            try:
                await self.announce(Grant(project=project), file)
            except Exception:  # one that cannot be told of keeps no other from it
                log.exception("on_upload_fault", file=id)
        return len(ids)

    async def is_file(self, id: str) -> bool:
        """Whether the upload of this id has become a File."""
        (file,) = await self._records.files.get_many([id])
        return file is not None

    def drafted(
        self, grant: Grant, upload: Upload, media_type: str, size: int, digest: str, image: ImageFacts | None
    ) -> File:
        """The File that an upload will be, with what was measured; not on record."""
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
            tags=intake.tags,
            folder=intake.folder,
            region=intake.region,
            source=intake.source,
            follow=upload.run,
            route=intake.route,
            hook=intake.hook,
            private=intake.private,
            published=intake.published,
            description=intake.description,
            lineage=intake.lineage,
            version=intake.version,
            root=intake.root,
            facts=intake.facts,
            created_at=at,
            stored_at=at if stored else None,
            expires_at=None if stored else at + timedelta(seconds=self._settings.unstored_expiry),
        )

    async def _commit(self, grant: Grant, file: File, following: tuple[Run, Slip] | None, text: bytes | None) -> bool:
        """Put it on record; whether anything can have been ordered for files of its project."""
        try:
            unheard = not grant.project.names_webhook(file)
            starts = starts_of(grant.project, file)
            return await self._records.uploads.finish(
                file.id, file, grant.project.limits, following, text, unheard, starts
            )
        except UploadNotFound:
            if not await self.is_file(file.id):  # a commit sent twice by the client library finds itself done
                raise
            return True


def starts_of(project: Project, file: File) -> Starts:
    """Whether flows are to start for a file once it is stored; for one put with another only those of the settings."""
    if project.on_upload:
        return "some"
    return "orders" if file.root is None else "none"


def _check_digest(upload: Upload, digest: str) -> None:
    """Raise `ChecksumMismatch` when the bytes are not those that were declared."""
    declared = upload.intake.sha256
    if declared not in (None, digest):
        raise ChecksumMismatch(algorithm="sha256", expected=declared, actual=digest)
