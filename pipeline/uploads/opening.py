"""What holds before a byte is taken: limits and rules of a project, and whose upload it is."""

from __future__ import annotations

from datetime import timedelta

from pipeline.arrival import Rules, safe_name
from pipeline.errors import FileTooLarge, UploadExpired, UploadNotFound
from pipeline.model import Grant, Intake, Upload, new_id, now
from pipeline.records import Records
from pipeline.settings import Settings


class Opening:
    """Opens uploads under the rules of their project, and finds those that are open."""

    def __init__(self, settings: Settings, records: Records) -> None:
        self._settings = settings
        self._records = records

    def upload(self, grant: Grant, intake: Intake, media_type: str | None = None) -> Upload:
        """A new upload, not yet on record; raises `FileTooLarge` for a size declared beyond the limit."""
        id, storage = new_id(), intake.storage or grant.project.storage
        intake = intake.model_copy(update={"name": safe_name(intake.name, media_type or intake.declared_type)})
        if intake.declared_size is not None and intake.declared_size > self._limit(grant, intake):
            raise FileTooLarge(limit=self._limit(grant, intake))
        return Upload(
            id=id,
            project=grant.project.id,
            storage=storage,
            key=f"{grant.project.id}/files/{id[:2]}/{id}/{intake.name}",
            intake=intake,
            expires_at=now() + timedelta(seconds=self._settings.upload_expiry),
        )

    def rules(self, grant: Grant, intake: Intake) -> Rules:
        """What the bytes of an intake must keep to; raises `FileTooLarge`."""
        limit = self._limit(grant, intake)
        if intake.declared_size is not None and intake.declared_size > limit:
            raise FileTooLarge(limit=limit)
        allowed = (grant.project.allowed_types, intake.types)
        return Rules(safe_name(intake.name), limit, intake.declared_size, intake.declared_type, allowed)

    async def owned(self, grant: Grant, id: str) -> Upload:
        """The project's upload, expired or not; raises `UploadNotFound`."""
        upload = await self._records.uploads.get(id)
        if upload.project != grant.project.id:
            raise UploadNotFound(id=id)
        return upload

    async def found(self, grant: Grant, id: str) -> Upload:
        """The project's upload that still takes bytes; raises `UploadNotFound` or `UploadExpired`."""
        upload = await self.owned(grant, id)
        if upload.expires_at <= now():
            raise UploadExpired(id=id)
        return upload

    def _limit(self, grant: Grant, intake: Intake) -> int:
        ours = grant.project.limits.max_file_size
        return ours if intake.max_size is None else min(ours, intake.max_size)
